"""The front door: which hosts and which web pages may use the server, decided before anything else of a request.

A page of another site can reach a server that listens here in two ways: it asks a browser to send requests across
origins, which the `Origin` header tells, or it lets its own name point here (DNS rebinding), which `Host` tells.
Source: MCP 2025-11-25, "Transports: Security Warning"; RFC 9110, 7.2 and 7.4; RFC 6454, 7; Fetch, "CORS protocol".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..model import Misused
from .asgi import Exchange
from .problems import Headers, Problem

ANY: Final = "*"
METHODS: Final = b"GET, POST, DELETE"
KNOWN_MAX: Final = 256
PREFLIGHT_LIFE_S: Final = 7200  # browsers keep it no longer; a page that is no longer allowed gets 403 all the same

HOST: Final = b"host"
ORIGIN: Final = b"origin"
DECIDING: Final = frozenset(
    {
        HOST,
        ORIGIN,
        b"authorization",
        b"content-length",
        b"content-type",
        b"last-event-id",
        b"mcp-protocol-version",
        b"mcp-session-id",
    }
)
"""What may be sent once only: of two values, a proxy before us may have gone by the other one."""

_ALLOW_HEADERS: Final = (
    b"Content-Type, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, Mcp-Method, Mcp-Name, "
    b"X-Request-Id, Traceparent"
)
_FOR_PAGES: Final[Headers] = [
    (b"access-control-expose-headers", b"Mcp-Session-Id, Retry-After, WWW-Authenticate, X-Request-Id"),
    (b"vary", b"Origin"),
]

_PORT: Final = r"(?::([1-9][0-9]{0,4}))?"
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})" + _PORT)
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})" + _PORT)
_LOCAL: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])" + _PORT)
_SHOWN: Final = re.compile(rb"[!-~]{1,512}")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Who may come in. `bound` is the address listened on.

    `hosts` are what a client may call the server, as `allowed_host` gives them, besides `bound`; `origins` the web
    pages that may use it, as `allowed_origin` gives them. With "*" among them there is no bound.
    """

    bound: str = "127.0.0.1"
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()


class Door:
    """Lets requests in, and tells browsers what pages may do.

    On loopback, loopback names and pages of this machine are let in; on every address (0.0.0.0, ::) also any name that
    is an address, for only a name that is resolved can be made to point here. Ports count where a host is allowed with
    one: they protect from nothing, and a published port is often another one.
    """

    def __init__(self, settings: DoorSettings) -> None:
        self._settings = settings
        bound = settings.bound
        everywhere = bound != "localhost" and ipaddress.ip_address(bound).is_unspecified
        self._local = is_loopback(bound)
        self._any_address = everywhere
        self._names = settings.hosts | {_bracketed(bound)} | (_LOOPBACK if self._local or everywhere else frozenset())
        # Only what is let in is kept, so that nobody can push it out with values of their own.
        self._check_host = lru_cache(KNOWN_MAX)(self._refuse_host)
        self._for_page = lru_cache(KNOWN_MAX)(self._headers_for)

    def admit(self, exchange: Exchange) -> None:
        """Return if the request may come in; from then on every answer to it has the headers that its page needs.

        A header that was sent on several lines, and decides nothing, is one value from then on (RFC 9110, 5.3).

        Raises:
            Problem: 400, a deciding header is there twice, or no valid Host; 403, it comes from a page that may not
                use the server; 421, it is meant for another host.
        """
        headers = exchange.headers
        if len(headers) != len(exchange.lines):
            _join_lines(exchange)
        origin = headers.get(ORIGIN)
        if origin is not None:
            exchange.more = [*self._for_page(origin)]
        self._check_host(headers.get(HOST, b""))

    async def options(self, exchange: Exchange) -> None:
        """Answer OPTIONS: to a page's preflight with what it may send, else with the methods there are.

        A browser that asks whether a public page may reach a private network hears yes for pages allowed by name only:
        "*" is no statement about them (Private Network Access, "CORS preflight").
        """
        origin = exchange.headers.get(ORIGIN)
        if origin is None or b"access-control-request-method" not in exchange.headers:
            await exchange.answer(204, [(b"allow", METHODS + b", OPTIONS")])
            return
        headers: Headers = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", _ALLOW_HEADERS),
            (b"access-control-max-age", b"%d" % PREFLIGHT_LIFE_S),
        ]
        private = exchange.headers.get(b"access-control-request-private-network") == b"true"
        if private and origin.decode().lower() in self._settings.origins:
            headers.append((b"access-control-allow-private-network", b"true"))
        await exchange.answer(204, headers)

    def _headers_for(self, origin: bytes) -> Headers:
        if not (_SHOWN.fullmatch(origin) and self._is_welcome(origin.decode().lower())):
            raise Problem(403, "pages of this origin may not use this server; --allow-origin lets them")
        return [(b"access-control-allow-origin", origin), *_FOR_PAGES]

    def _is_welcome(self, origin: str) -> bool:
        allowed = self._settings.origins
        return origin in allowed or ANY in allowed or (self._local and _LOCAL.fullmatch(origin) is not None)

    def _refuse_host(self, host: bytes) -> None:
        if not host:
            raise Problem(400, "send a Host header")
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            raise Problem(400, "the Host header is not HOST or HOST:PORT")
        name, names = match[1], self._names
        if name in names or match[0] in names or ANY in names or (self._any_address and _is_address(name)):
            return
        raise Problem(421, "this server does not go by that host name; --allow-host gives it another one")


def allowed_host(text: str) -> str:
    """Return HOST or HOST:PORT, or "*", as `DoorSettings.hosts` has it.

    Raises:
        Misused: It is none.
    """
    host = text.lower()
    if host != ANY and _HOST.fullmatch(host) is None:
        raise Misused(f"{text!r} is not a host; write for example mcp.example.com, mcp.example.com:8443 or *")
    return host.removesuffix(":443").removesuffix(":80")  # which a client leaves out


def allowed_origin(text: str) -> str:
    """Return an origin, "null" or "*" as `DoorSettings.origins` has it: as a browser writes it, without a default port.

    Raises:
        Misused: It is none.
    """
    origin = text.lower()
    if origin in (ANY, "null"):
        return origin
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise Misused(
            f"{text!r} is not an origin; write for example https://app.example.com (no path, other scripts as xn--…) "
            "or *"
        )
    scheme, name, port = match.groups()
    return f"{scheme}://{name}" if port == _DEFAULT_PORTS.get(scheme) else origin


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach what listens on `address`."""
    return address == "localhost" or ipaddress.ip_address(address).is_loopback


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _join_lines(exchange: Exchange) -> None:
    values: dict[bytes, list[bytes]] = {}
    for name, value in exchange.lines:
        values.setdefault(name, []).append(value)
    for name, several in values.items():
        if len(several) > 1:
            if name in DECIDING:
                raise Problem(400, f"send the header {name.decode()} once")
            exchange.headers[name] = b", ".join(several)
