"""What is decided about identity, as functions of data: no I/O, no clock, no chance.

Source: RFC 6750 (bearer tokens), RFC 7519 and RFC 8725 (JWT), RFC 7517 (keys), RFC 8414 and OpenID Connect Discovery
1.0 (metadata of an issuer), RFC 9728 (metadata of a protected resource).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ..model import Misused, Unavailable
from ..model.urls import split_url
from .contract import Principal

SUBJECT_BYTES_MAX: Final = 255
TOKEN_BYTES_MAX: Final = 16 * 2**10
KEYS_MAX: Final = 64
LEEWAY_S: Final = 30.0
SECONDS_MAX: Final = 2**40  # of a time in a token: some 30,000 years
TOKEN_ISSUER: Final = "token"
PROXY_ISSUER: Final = "proxy"
"""Neither is a URL, so no issuer of JWT can have the name."""

RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"
ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What may sign a token, and the type and curve of its keys. No shared secrets, and never `none`."""
DEFAULT_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def is_subject(text: str) -> bool:
    """Return whether this can name somebody: 1 to 255 bytes of UTF-8 that a person can read."""
    return 1 <= len(text) <= SUBJECT_BYTES_MAX and text.isprintable() and len(text.encode()) <= SUBJECT_BYTES_MAX


# -- bearer tokens


def bearer_token(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Return the bearer token of a request, "" for one that is none; None when nothing of the kind was sent.

    Two Authorization headers are as good as a broken one: a proxy before us may have gone by the other.
    """
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        return None
    if len(given) > 1:
        return ""
    found = _BEARER.fullmatch(given[0])
    if found is not None and len(found[1]) <= TOKEN_BYTES_MAX:
        return found[1].decode()
    return "" if given[0][:6].lower() == b"bearer" else None


def challenge(metadata_url: str | None, reason: str | None = None) -> str:
    """Return the WWW-Authenticate of a 401; `reason` is what was wrong with a token, None when there was none.

    Source: RFC 6750, section 3; RFC 9728, section 5.1.
    """
    words = [f'resource_metadata="{metadata_url}"' if metadata_url else 'realm="holdfast"']
    if reason is not None:
        words += ['error="invalid_token"', f'error_description="{reason}"']
    return "Bearer " + ", ".join(words)


# -- static tokens


def digest_of(token: str) -> bytes:
    """Return what is kept of a token. It is random throughout, so one round of SHA-256 is all it needs."""
    return hashlib.sha256(token.encode()).digest()


def token_line(name: str, token: str) -> str:
    """Return the line of a token file that lets `token` in as `name`.

    Raises:
        Misused: The name cannot stand in a token file.
    """
    if not is_subject(name) or ":" in name or name != name.strip() or name.startswith("#"):
        raise Misused(f"{name!r} cannot name a token; take 1 to {SUBJECT_BYTES_MAX} bytes, without : and a leading #")
    return f"{name}:{digest_of(token).hex()}"


def read_token_lines(text: str, where: str) -> dict[bytes, Principal]:
    """Return the principals of a token file by the digests of their tokens.

    Raises:
        Misused: A line is not `NAME:SHA256`, or a name or digest occurs twice; it says which line of `where`.
    """
    found: dict[bytes, Principal] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name, colon, digest = line.strip().rpartition(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not colon or not _DIGEST.fullmatch(digest) or not is_subject(name) or ":" in name:
            raise Misused(f"{where}, line {number}: not NAME:SHA256 in hex; `holdfast token NAME` makes such a line")
        for key in (name, digest):
            if key in lines:
                raise Misused(f"{where}, line {number}: the same as in line {lines[key]}; keep one of them")
            lines[key] = number
        found[bytes.fromhex(digest)] = Principal(TOKEN_ISSUER, name)
    return found


# -- JWT


def why_refused(claims: Any, issuer: str, audience: str, now: float) -> str | None:
    """Return why a token with these claims is not to be accepted at `now`, seconds since the epoch; None if it is."""
    if not isinstance(claims, dict):
        return "its claims are no JSON object"
    expires, begins = _seconds(claims.get("exp")), _seconds(claims.get("nbf", 0))
    audiences, subject = claims.get("aud"), claims.get("sub")
    faults = {
        "it has no expiry time (exp)": expires is None,
        "it has expired": expires is not None and now >= expires + LEEWAY_S,
        "it is not valid yet": begins is None or now < begins - LEEWAY_S,
        "it is from another issuer": claims.get("iss") != issuer,
        "it is for another audience": audience not in (audiences if isinstance(audiences, list) else [audiences]),
        "it has no usable subject (sub)": not isinstance(subject, str) or not is_subject(subject),
    }
    return next((why for why, is_so in faults.items() if is_so), None)


def _seconds(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < SECONDS_MAX
    return float(value) if is_number else None  # type: ignore[arg-type]  # is_number has seen to it


def keys_of(body: bytes) -> list[dict[str, Any]]:
    """Return the keys of a JWK set, unread.

    Raises:
        Unavailable: It is none, or has more keys than anybody needs.
    """
    keys = _json_object(body).get("keys")
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise Unavailable(f"what should be the keys of the issuer is no set of at most {KEYS_MAX} keys")
    return [key for key in keys if isinstance(key, dict)]


def fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether a JSON Web Key is a public key that may verify what was signed with `algorithm`."""
    kind, curve = ALGORITHMS[algorithm]
    operations = key.get("key_ops")
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and "d" not in key  # whoever read the set can sign with it
    )


# -- metadata


def issuer_metadata_urls(issuer: str) -> tuple[str, str]:
    """Return where an issuer's metadata may be, in the order to look.

    Source: OpenID Connect Discovery 1.0, section 4; RFC 8414, section 3.
    """
    url = split_url(issuer)
    path = url.path.rstrip("/")
    return (
        f"{url.root}{path}/.well-known/openid-configuration",
        f"{url.root}/.well-known/oauth-authorization-server{path}",
    )


def jwks_url_in(body: bytes, issuer: str) -> str:
    """Return where an issuer's keys are, by its metadata.

    Raises:
        Unavailable: These are not its metadata, or they do not say.
    """
    metadata = _json_object(body)
    url = metadata.get("jwks_uri")
    if metadata.get("issuer") != issuer or not isinstance(url, str):
        found = metadata.get("issuer")
        raise Unavailable(f"the metadata name issuer {found!r:.200} and jwks_uri {url!r:.200}, not {issuer} and a URL")
    return url


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unavailable(f"what the issuer answered is no JSON object: {error}") from error


def resource_metadata(base: str, path: str, issuer: str) -> tuple[str, dict[str, bytes]]:
    """Return the address of this server's metadata and the document by the paths at which it is served.

    `base` is the address by which clients know the server, `path` that of the MCP endpoint below it.
    Source: RFC 9728, sections 2 and 3; MCP 2025-11-25, "Authorization: Protected Resource Metadata Discovery".
    """
    url = split_url(base)
    behind = "" if url.path + path == "/" else url.path + path
    document = {
        "resource": url.root + behind,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
    }
    places = {RESOURCE_METADATA, RESOURCE_METADATA + ("" if path == "/" else path), RESOURCE_METADATA + behind}
    return url.root + RESOURCE_METADATA + behind, dict.fromkeys(places, msgspec.json.encode(document))
