"""Bare sockets against `holdfast serve`: clients that speak HTTP in unusual ways, or not to its end."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kit import ECHO, McpClient, Served, serving

pytestmark = pytest.mark.slow

LONG_S = 60.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("sockets") / "data", command=ECHO) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: Served) -> McpClient:
    return served.opened()


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """Give as many connections as this process may have, 2,000 at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=LONG_S)


def ping(client: McpClient, number: int, *headers: str) -> bytes:
    body = f'{{"jsonrpc":"2.0","id":"p{number}","method":"ping"}}'
    head = [
        "POST /mcp HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Mcp-Session-Id: {client.session}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def all_of(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_pipelined_calls_are_answered_in_order(served: Served, client: McpClient) -> None:
    with connected(served) as connection:
        asked = [ping(client, number) for number in range(20)]
        connection.sendall(b"".join(asked) + ping(client, 20, "Connection: close"))
        answers = all_of(connection)
    places = [answers.index(b'"p%d"' % number) for number in range(21)]
    assert places == sorted(places)


def test_a_client_that_closes_its_half_gets_its_answer(served: Served, client: McpClient) -> None:
    with connected(served) as connection:
        connection.sendall(ping(client, 1))
        connection.shutdown(socket.SHUT_WR)
        assert b'"p1"' in all_of(connection)


def test_a_head_that_names_two_sessions_is_refused(served: Served, client: McpClient) -> None:
    """R-SEC-3: a proxy may have checked the other one."""
    with connected(served) as connection:
        connection.sendall(ping(client, 1, "mcp-session-id: " + "f" * 32, "Connection: close"))
        assert all_of(connection).startswith(b"HTTP/1.1 400 ")


def test_a_session_in_a_trailer_is_none(served: Served, client: McpClient) -> None:
    """R-SEC-3."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    head = ping(client, 1, "Transfer-Encoding: chunked", "Connection: close").partition(b"\r\n\r\n")[0]
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Mcp-Session-Id", b"Content-Length"))]
    trailer = b"Mcp-Session-Id: %s\r\n\r\n" % str(client.session).encode()
    with connected(served) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n%x\r\n%s\r\n0\r\n%s" % (len(body), body, trailer))
        assert all_of(connection).startswith(b"HTTP/1.1 400 ")


def test_what_strangers_send_does_not_fill_the_log(served: Served, client: McpClient) -> None:
    """R-SEC-1: the disk is bounded."""
    before = len(served.log)
    for sent in (
        b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ):
        with connected(served) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            all_of(connection)
    assert len(served.log) == before


def test_slow_clients_do_not_keep_others_from_being_served(
    served: Served, client: McpClient, many_descriptors: int
) -> None:
    """R-SEC-3: slowloris; half of them in the head, half in the body."""
    whole = ping(client, 1)
    with ExitStack() as connections:
        for number in range(many_descriptors):
            slow = connections.enter_context(connected(served))
            slow.sendall(whole[: len(whole) // 2 if number % 2 else -1])
        for number in range(20):
            assert client.call("echo", text=str(number)) == str(number)
