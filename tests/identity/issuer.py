"""An issuer of tokens on loopback: keys, the documents that publish them, and tokens good and bad."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE: Final = "https://mcp.example/mcp"

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Pair(NamedTuple):
    """A key of the issuer: what signs, and what is published."""

    private: Private
    algorithm: str
    public: dict[str, Any]

    def named(self, name: str | None) -> Pair:
        """Return the same key under another name."""
        others = {part: value for part, value in self.public.items() if part != "kid"}
        return self._replace(public=others if name is None else others | {"kid": name})


def rsa_pair(name: str, *, bits: int = 2048) -> Pair:
    private = rsa.generate_private_key(65537, bits)
    return Pair(private, "RS256", RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)).named(name)


def ec_pair(name: str) -> Pair:
    private = ec.generate_private_key(ec.SECP256R1())
    return Pair(private, "ES256", ECAlgorithm.to_jwk(private.public_key(), as_dict=True)).named(name)


def ed_pair(name: str) -> Pair:
    private = ed25519.Ed25519PrivateKey.generate()
    return Pair(private, "EdDSA", OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)).named(name)


def jwks(*pairs: Pair) -> bytes:
    return json.dumps({"keys": [pair.public for pair in pairs]}).encode()


def signed(pair: Pair, claims: dict[str, Any], **header: Any) -> str:
    """Return a token with exactly these claims; a header given as None is left out."""
    headers = {"kid": pair.public.get("kid")} | header
    kept = {name: value for name, value in headers.items() if value is not None}
    return jwt.encode(claims, pair.private, pair.algorithm, kept)


class Answer(NamedTuple):
    """What the issuer answers to a GET: a body that is None is never sent."""

    status: int
    body: bytes | None
    location: str | None = None


class Issuer:
    """Serves `documents` by path and notes what was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys_url = f"{self.url}/keys"
        self.documents: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.let_go = threading.Event()
        self.left = threading.Event()

    def publish(self, *pairs: Pair) -> None:
        """Serve these keys, and the metadata that lead to them."""
        metadata = {"issuer": self.url, "jwks_uri": self.keys_url}
        self.documents["/.well-known/openid-configuration"] = Answer(200, json.dumps(metadata).encode())
        self.documents["/keys"] = Answer(200, jwks(*pairs))

    def claims(self, now: float | None = None, **changed: Any) -> dict[str, Any]:
        """Return what a good token claims; what is changed to None is left out."""
        now = time.time() if now is None else now
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": int(now) + 600, "iat": int(now)}
        return {name: value for name, value in (good | changed).items() if value is not None}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        found = self.documents.get(handler.path, Answer(404, b"not here"))
        handler.send_response(found.status)
        if found.location is not None:
            handler.send_header("Location", found.location)
        if found.body is None:
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            self._drip(handler)
        else:
            handler.send_header("Content-Length", str(len(found.body)))
            handler.end_headers()
            handler.wfile.write(found.body)

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Send a byte every now and then until the client leaves, or is let go."""
        try:
            while not self.let_go.wait(0.05):
                handler.wfile.write(b" ")
        except OSError:
            self.left.set()


@contextmanager
def issuing(port: int = 0) -> Iterator[Issuer]:
    """Run an issuer that publishes nothing yet."""
    respond: Callable[[BaseHTTPRequestHandler], None]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # whoever asked has gone

    with Server(("127.0.0.1", port), Handler) as server:
        issuer = Issuer(server.server_address[1])
        respond = issuer.answer
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield issuer
        finally:
            issuer.let_go.set()
            server.shutdown()
            thread.join()
