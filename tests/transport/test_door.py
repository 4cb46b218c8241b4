"""Who is let in at the front door, and what browsers are told."""

from __future__ import annotations

import string
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.model import Misused
from holdfast.stores import MemoryStore
from holdfast.transport.asgi import Exchange
from holdfast.transport.door import DECIDING, Door, DoorSettings, allowed_host, allowed_origin
from holdfast.transport.pipeline import Edge
from holdfast.transport.problems import Problem

from .edges import Answered, ask, edge_on

APP = "https://app.example.com"
LISTED = DoorSettings(
    hosts=frozenset({"mcp.example.com", "exact.example.com:8443", "[2001:db8::1]"}),
    origins=frozenset({APP, "http://app.example.com:8080"}),
)
ANYONE = DoorSettings(hosts=frozenset("*"), origins=frozenset("*"))
EVERYWHERE = DoorSettings(bound="0.0.0.0")
ON_A_NETWORK = DoorSettings(bound="192.0.2.7")
PING = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'


def exchange(*lines: tuple[bytes, bytes], method: str = "POST") -> Exchange:
    async def nothing(event: Any = None) -> Any:
        raise AssertionError("nothing is read or sent to decide")

    return Exchange({"method": method, "path": "/mcp", "headers": list(lines)}, nothing, nothing)


def status(settings: DoorSettings, *lines: tuple[bytes, bytes]) -> int:
    """Return 200 when a request with these headers is let in, else what it is answered."""
    try:
        Door(settings).admit(exchange(*lines))
    except Problem as problem:
        return problem.status
    return 200


def status_of_host(settings: DoorSettings, host: str) -> int:
    return status(settings, (b"host", host.encode()))


def status_of_origin(settings: DoorSettings, origin: bytes) -> int:
    return status(settings, (b"host", settings.bound.encode()), (b"origin", origin))


@pytest.mark.parametrize(
    ("settings", "host", "answered"),
    [
        (DoorSettings(), "localhost", 200),
        (DoorSettings(), "LOCALHOST:8000", 200),
        (DoorSettings(), "127.0.0.1:1", 200),
        (DoorSettings(), "[::1]:65535", 200),
        (DoorSettings(bound="127.0.0.2"), "127.0.0.2:8000", 200),
        (DoorSettings(bound="::1"), "[::1]:8000", 200),
        (DoorSettings(bound="localhost"), "127.0.0.1", 200),
        (DoorSettings(), "evil.example.com", 421),
        (DoorSettings(), "localhost.evil.example.com", 421),
        (DoorSettings(), "127.0.0.1.evil.example.com:8000", 421),
        (DoorSettings(), "localhost.", 421),
        (DoorSettings(), "127.0.0.2", 421),
        (DoorSettings(), "127.1", 421),
        (DoorSettings(), "2130706433", 421),
        (DoorSettings(), "0x7f.0.0.1", 421),
        (DoorSettings(), "0.0.0.0:8000", 421),
        (DoorSettings(), "192.0.2.7", 421),
        (DoorSettings(), "[::ffff:7f00:1]", 421),
        (DoorSettings(), "", 400),
        (DoorSettings(), "localhost:", 400),
        (DoorSettings(), "localhost:08000", 400),
        (DoorSettings(), "localhost:80:80", 400),
        (DoorSettings(), "localhost:80@evil.example.com", 400),
        (DoorSettings(), "user@localhost", 400),
        (DoorSettings(), "localhost/", 400),
        (DoorSettings(), "local\thost", 400),
        (DoorSettings(), "localhost, evil.example.com", 400),
        (DoorSettings(), "löcalhost", 400),
        (DoorSettings(), "[::1", 400),
        (LISTED, "mcp.example.com", 200),
        (LISTED, "MCP.example.com:9999", 200),
        (LISTED, "exact.example.com:8443", 200),
        (LISTED, "[2001:db8::1]:80", 200),
        (LISTED, "localhost:8000", 200),
        (LISTED, "exact.example.com", 421),
        (LISTED, "exact.example.com:84430", 421),
        (LISTED, "evil-mcp.example.com", 421),
        (ANYONE, "evil.example.com", 200),
        (ANYONE, "", 400),
        (EVERYWHERE, "192.0.2.9:8000", 200),
        (EVERYWHERE, "[2001:db8::2]:8000", 200),
        (EVERYWHERE, "localhost:8000", 200),
        (EVERYWHERE, "evil.example.com", 421),
        (EVERYWHERE, "192.0.2.09", 421),
        (EVERYWHERE, "[192.0.2.9.evil]", 400),
        (ON_A_NETWORK, "192.0.2.7:8000", 200),
        (ON_A_NETWORK, "localhost:8000", 421),
        (ON_A_NETWORK, "192.0.2.8", 421),
    ],
)
def test_a_request_is_let_in_for_the_hosts_that_are_this_server(
    settings: DoorSettings, host: str, answered: int
) -> None:
    """R-MCP-1, R-SEC-3: DNS rebinding."""
    assert status_of_host(settings, host) == answered


@pytest.mark.parametrize(
    ("settings", "origin", "answered"),
    [
        (DoorSettings(), b"http://localhost:6274", 200),
        (DoorSettings(), b"http://LocalHost", 200),
        (DoorSettings(), b"http://127.0.0.1", 200),
        (DoorSettings(), b"https://[::1]:8443", 200),
        (DoorSettings(), b"http://localhost.evil.example", 403),
        (DoorSettings(), b"http://localhost.", 403),
        (DoorSettings(), b"http://127.0.0.1.evil.example", 403),
        (DoorSettings(), b"http://127.0.0.1@evil.example", 403),
        (DoorSettings(), b"http://evil.example#http://localhost", 403),
        (DoorSettings(), b"http://[::1].evil", 403),
        (DoorSettings(), b"http://[::1", 403),
        (DoorSettings(), b"http://localhost:08000", 403),
        (DoorSettings(), b"http://localhost:", 403),
        (DoorSettings(), b"http://localhost/", 403),
        (DoorSettings(), b"http://localhost\t", 403),
        (DoorSettings(), b"http://localhost\n", 403),
        (DoorSettings(), b"ftp://localhost", 403),
        (DoorSettings(), b"file://", 403),
        (DoorSettings(), b"localhost", 403),
        (DoorSettings(), b"null", 403),
        (DoorSettings(), b"", 403),
        (DoorSettings(), APP.encode(), 403),
        (LISTED, APP.encode(), 200),
        (LISTED, APP.upper().encode(), 200),
        (LISTED, b"http://app.example.com:8080", 200),
        (LISTED, b"http://localhost:3000", 200),
        (LISTED, b"http://app.example.com", 403),
        (LISTED, b"https://app.example.com:443", 403),
        (LISTED, b"https://evil.app.example.com", 403),
        (LISTED, b"https://app.example.com https://app.example.com", 403),
        (LISTED, "https://äpp.example.com".encode(), 403),
        (LISTED, b"null", 403),
        (DoorSettings(origins=frozenset({"null"})), b"null", 200),
        (ANYONE, b"https://evil.example", 200),
        (ANYONE, b"a\tb", 403),
        (ANYONE, b"x" * 513, 403),
        (ON_A_NETWORK, b"http://localhost:3000", 403),
    ],
)
def test_a_page_is_let_in_when_it_is_of_this_machine_or_named(
    settings: DoorSettings, origin: bytes, answered: int
) -> None:
    """R-MCP-1: the Origin check."""
    assert status_of_origin(settings, origin) == answered


HOST_PIECES = ["localhost", "127.0.0.1", "[::1]", "mcp.example.com", "exact.example.com", "8443", "evil.example"]
TRICKS = [
    ":",
    ".",
    "@",
    "/",
    "\\",
    "#",
    "?",
    "\t",
    " ",
    "%00",
    "xn--",
    "http://",
    "https://",
    "0",
    "null",
    "*",
    "ä",
    ",",
]
STRINGS = st.lists(st.sampled_from(HOST_PIECES + TRICKS) | st.text(string.printable, max_size=3), max_size=6).map(
    "".join
)


@given(STRINGS)
@example("mcp.example.com.")
def test_no_host_that_is_not_listed_is_let_in(host: str) -> None:
    """The oracle takes the text apart from behind and does not share the door's pattern."""
    name, colon, port = host.lower().rpartition(":") if not host.endswith("]") else (host.lower(), "", "")
    if not colon:
        name, port = host.lower(), ""
    whole = colon == "" or (port.isascii() and port.isdigit() and len(port) < 6 and not port.startswith("0"))
    listed = name in {"localhost", "127.0.0.1", "[::1]", "mcp.example.com", "[2001:db8::1]"}
    exact = host.lower() == "exact.example.com:8443"
    assert (status_of_host(LISTED, host) == 200) is (whole and (listed or exact))


@given(STRINGS.map(lambda text: text.encode("latin-1")))
@example(b"http://127.0.0.1@evil.com")
def test_no_page_that_is_not_listed_is_let_in(origin: bytes) -> None:
    text = origin.decode("latin-1").lower()
    scheme, _, rest = text.partition("://")
    local = any(
        rest == name
        or (rest.startswith(f"{name}:") and (port := rest[len(name) + 1 :]).isdigit() and 0 < int(port) < 10**5)
        for name in ("localhost", "127.0.0.1", "[::1]")
    )
    leading_zero = local and rest.rpartition(":")[2].startswith("0")
    expected = text in LISTED.origins or (scheme in ("http", "https") and local and not leading_zero)
    assert (status_of_origin(LISTED, origin) == 200) is expected


def test_what_decides() -> None:
    """R-SEC-3: whatever the edge goes by."""
    names = "authorization content-length content-type host last-event-id mcp-protocol-version mcp-session-id origin"
    assert {name.decode() for name in DECIDING} == set(names.split())


@pytest.mark.parametrize("name", sorted(DECIDING))
def test_a_header_that_decides_is_sent_once(name: bytes) -> None:
    """R-SEC-3: a proxy before us may have gone by the other one."""
    value = b"localhost" if name == b"host" else b"http://localhost"
    others = [] if name == b"host" else [(b"host", b"localhost")]
    assert status(DoorSettings(), *others, (name, value)) == 200
    assert status(DoorSettings(), *others, (name, value), (name, value)) == 400


def test_a_header_on_several_lines_that_decides_nothing_is_one_value() -> None:
    asked = exchange((b"host", b"localhost"), (b"accept", b"application/json"), (b"accept", b"text/event-stream"))
    Door(DoorSettings()).admit(asked)
    assert asked.headers[b"accept"] == b"application/json, text/event-stream"


@pytest.mark.parametrize("text", ["MCP.example.com", "mcp.example.com:443", "mcp.example.com:80"])
def test_a_port_that_clients_leave_out_is_left_out(text: str) -> None:
    assert status(DoorSettings(hosts=frozenset({allowed_host(text)})), (b"host", b"mcp.example.com")) == 200


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_an_origin_is_kept_as_browsers_write_it(text: str, origin: str) -> None:
    assert allowed_origin(text) == origin
    if origin != "*":
        assert status_of_origin(DoorSettings(origins=frozenset({origin})), origin.encode()) == 200


@pytest.mark.parametrize(
    "text",
    ["app.example.com", "https://app.example.com/", "https://u@app.example.com", "https://*.example.com", "", "ä"],
)
def test_what_is_no_origin_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(Misused, match="not an origin"):
        allowed_origin(text)


@pytest.mark.parametrize("text", ["https://mcp.example.com", "mcp.example.com:", "a b", "", "*.example.com"])
def test_what_is_no_host_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(Misused, match="not a host"):
        allowed_host(text)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[tuple[Edge, str]]:
    async with edge_on(MemoryStore(), tmp_path, door=LISTED) as opened:
        yield opened


def headers_for_pages(answered: Answered) -> tuple[bytes | None, bytes | None, bool]:
    headers = answered.headers
    exposed = b"Mcp-Session-Id" in headers.get(b"access-control-expose-headers", b"")
    return headers.get(b"access-control-allow-origin"), headers.get(b"vary"), exposed


async def test_an_allowed_page_can_read_every_answer(edge: tuple[Edge, str]) -> None:
    app, session = edge
    answers = [
        await ask(app, "POST", PING, mcp_session_id=session, origin=APP),
        await ask(app, "POST", PING, mcp_session_id="unknown", origin=APP),
        await ask(app, "POST", b"{", mcp_session_id=session, origin=APP),
        await ask(app, "PUT", origin=APP),
        await ask(app, "DELETE", mcp_session_id=session, origin=APP),
    ]
    assert [answered.status for answered in answers] == [200, 404, 400, 405, 204]
    assert {headers_for_pages(answered) for answered in answers} == {(APP.encode(), b"Origin", True)}


async def test_an_allowed_page_can_read_streams(tmp_path: Path) -> None:
    async with edge_on(MemoryStore(), tmp_path, door=LISTED, answer="stream") as (app, session):
        answered = await ask(app, "POST", PING, mcp_session_id=session, origin=APP)
    assert answered.headers[b"content-type"] == b"text/event-stream"
    assert headers_for_pages(answered) == (APP.encode(), b"Origin", True)


async def test_a_page_that_is_not_allowed_gets_nothing_done(edge: tuple[Edge, str]) -> None:
    app, session = edge
    refused = await ask(app, "DELETE", mcp_session_id=session, origin="https://evil.example")
    assert (refused.status, headers_for_pages(refused)) == (403, (None, None, False))
    assert (
        await ask(app, "OPTIONS", origin="https://evil.example", access_control_request_method="POST")
    ).status == 403
    assert (await ask(app, "POST", PING, mcp_session_id=session)).status == 200


async def test_a_request_without_origin_is_told_nothing_for_pages(edge: tuple[Edge, str]) -> None:
    app, session = edge
    answered = await ask(app, "POST", PING, mcp_session_id=session)
    assert (answered.status, headers_for_pages(answered)) == (200, (None, None, False))


async def test_a_preflight_is_told_what_may_be_sent(edge: tuple[Edge, str]) -> None:
    app, _ = edge
    answered = await ask(app, "OPTIONS", origin=APP, access_control_request_method="POST")
    assert (answered.status, answered.body, headers_for_pages(answered)) == (204, b"", (APP.encode(), b"Origin", True))
    assert answered.headers[b"access-control-allow-methods"] == b"GET, POST, DELETE"
    allowed = answered.headers[b"access-control-allow-headers"].lower().split(b", ")
    assert {b"content-type", b"accept", b"authorization"} <= set(allowed)
    assert {b"mcp-session-id", b"mcp-protocol-version", b"last-event-id"} <= set(allowed)
    assert b"access-control-allow-credentials" not in answered.headers
    assert b"access-control-allow-private-network" not in answered.headers


@pytest.mark.parametrize(("settings", "told"), [(LISTED, b"true"), (ANYONE, None)])
async def test_only_pages_named_are_told_that_a_private_network_may_be_reached(
    tmp_path: Path, settings: DoorSettings, told: bytes | None
) -> None:
    async with edge_on(MemoryStore(), tmp_path, door=settings) as (app, _):
        answered = await ask(
            app,
            "OPTIONS",
            origin=APP,
            access_control_request_method="POST",
            access_control_request_private_network="true",
        )
    assert (answered.status, answered.headers.get(b"access-control-allow-private-network")) == (204, told)


async def test_options_without_a_page_names_the_methods(edge: tuple[Edge, str]) -> None:
    app, _ = edge
    answered = await ask(app, "OPTIONS")
    assert (answered.status, answered.headers[b"allow"]) == (204, b"GET, POST, DELETE, OPTIONS")
