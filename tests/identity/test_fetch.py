"""Keys over TLS: only from whom the certificates of the system, or those that are named, vouch for."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from holdfast.identity.fetch import BYTES_MAX, fetched, read
from holdfast.model import Unavailable

from .issuer import Answer, issuing


def certificate(path: Path) -> Path:
    """Write a key and a certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


class Server(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that does not trust us leaves


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Give the address of a server that speaks TLS, and the certificate that vouches for it."""
    path = certificate(tmp_path / "issuer.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}", path
        finally:
            server.shutdown()
            thread.join()


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(secure: tuple[str, Path]) -> None:
    """R-SEC-1: whoever could give us keys could be anybody."""
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await fetched(f"{secure[0]}/keys")


async def test_an_authority_of_ones_own_is_named_by_the_environment(
    secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure[1]))
    assert await fetched(f"{secure[0]}/keys?x=1") == b"/keys?x=1"
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await fetched(f"{secure[0].replace('127.0.0.1', 'localhost')}/keys")


@pytest.mark.parametrize("url", ["http://192.0.2.1/keys", "file:///etc/passwd", "https://", "https://a b/"])
async def test_what_is_no_secure_address_is_not_even_tried(url: str) -> None:
    with pytest.raises(Unavailable, match=r"is not a URL|over http anybody"):
        await fetched(url)


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with issuing() as issuer:
        issuer.documents["/keys"] = Answer(200, b'"' + b"x" * (2 * BYTES_MAX) + b'"')
        with pytest.raises(Unavailable, match="answered more than"):
            await fetched(issuer.keys_url)


async def test_a_file_of_keys_is_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b" " * (BYTES_MAX + 1))
    with pytest.raises(Unavailable, match="more than"):
        await read(tmp_path / "large")
    with pytest.raises(Unavailable, match="No such file"):
        await read(tmp_path / "absent")
