"""The front door of a real server, over real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import Served, serving

pytestmark = pytest.mark.slow

APP = "https://app.example.com"
OPEN = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("door") / "data"
    with serving(data, "--allow-host", "mcp.example.com", "--allow-origin", APP) as server:
        yield server


def raw(served: Served, *lines: str, body: str = OPEN) -> tuple[int, dict[str, str]]:
    """Send these lines as they are; return the status and the headers of the answer."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        head = ["POST /mcp HTTP/1.1", "Connection: close", "Content-Type: application/json", *lines]
        connection.sendall("\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    status, *headers = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in headers)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Host: localhost"], 200),
        (["Host: mcp.example.com:443"], 200),
        (["Host: evil.example.com"], 421),
        ([], 400),
        (["Host: localhost", "Host: localhost"], 400),
        (["Host: localhost", "Host: evil.example.com"], 400),
        (["Host: localhost", "Origin: http://localhost", "Origin: https://evil.example"], 400),
        (["Host: localhost", "Origin: https://evil.example"], 403),
        (["Host: localhost", "Origin: http://127.0.0.1@evil.example"], 403),
        (["Host: localhost", "Origin: null"], 403),
        (["Host: localhost", f"Origin: {APP}"], 200),
        (["Host: localhost", "Mcp-Session-Id: a", "Mcp-Session-Id: b"], 400),
        (["Host: localhost", "Content-Length: 3"], 400),
    ],
)
def test_a_request_passes_the_door_or_is_told_why_not(served: Served, lines: list[str], status: int) -> None:
    """R-MCP-1, R-SEC-3."""
    answered, headers = raw(served, *lines)
    assert (answered, "mcp-session-id" in headers) == (status, status == 200)


def test_a_page_can_read_that_it_must_say_who_asks(tmp_path: Path) -> None:
    """Preflights are answered before: browsers send no token with them."""
    tokens = tmp_path / "tokens"
    made = subprocess.run(
        [sys.executable, "-m", "holdfast", "token", "someone"], capture_output=True, text=True, check=True, timeout=60
    )
    tokens.write_text(made.stdout)
    tokens.chmod(0o600)
    with serving(
        tmp_path / "data", "--token-file", str(tokens), "--allow-origin", APP, "--log-level", "debug"
    ) as served:
        client = served.client()
        refused = client.send("POST", OPEN.encode(), {"Origin": APP})
        assert (refused.status, refused.response.getheader("access-control-allow-origin")) == (401, APP)
        assert "WWW-Authenticate" in (refused.response.getheader("access-control-expose-headers") or "")
        assert client.send("OPTIONS", None, {"Origin": APP, "Access-Control-Request-Method": "POST"}).status == 204
        token = made.stderr.split()[-1]
        assert client.send("POST", OPEN.encode(), {"Origin": APP, "Authorization": f"Bearer {token}"}).status == 200
        assert client.send("GET", path="/readyz").status == 200
        served.terminate()
        assert "POST /mcp answered 401" in served.log
        assert token not in served.log  # R-SEC-2


def test_a_page_that_is_allowed_opens_a_session_and_reads_its_id(served: Served) -> None:
    client = served.client()
    preflight = client.send("OPTIONS", None, {"Origin": APP, "Access-Control-Request-Method": "POST"})
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.response.getheader("access-control-allow-origin") == APP
    opened = client.send("POST", OPEN.encode(), {"Origin": APP})
    assert opened.session is not None
    assert opened.response.getheader("access-control-allow-origin") == APP
    assert "Mcp-Session-Id" in (opened.response.getheader("access-control-expose-headers") or "")
