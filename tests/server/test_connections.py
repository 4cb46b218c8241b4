"""What a client leaves hanging ends, and keeps nobody else waiting: bare sockets against our HTTP protocol."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import ROOT, eventually, free_port

pytestmark = pytest.mark.slow

LONG_S = 30.0


class Bounded:
    """A running `bounded_server.py`."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(LONG_S)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def ask(self, path: str = "/") -> Any:
        with self.connect() as connection:
            connection.sendall(request(path, "Connection: close"))
            return json.loads(all_of(connection).partition(b"\r\n\r\n")[2])


@contextmanager
def bounded(
    head_s: float = 60.0, body_s: float = 60.0, stalled_s: float = 60.0, connections_max: int = 10_000
) -> Iterator[Bounded]:
    port = free_port()
    program = str(ROOT / "tests" / "programs" / "bounded_server.py")
    words = [sys.executable, program, str(port), str(head_s), str(body_s), str(stalled_s), str(connections_max)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        try:
            yield Bounded(port)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def patient() -> Iterator[Bounded]:
    with bounded() as server:
        yield server


def request(path: str = "/", *headers: str, body: str = "", verb: str = "GET") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{verb} {path} HTTP/1.1", "Host: localhost", *length, *headers, "", body]).encode()


def all_of(connection: socket.socket) -> bytes:
    """Return what comes until the server closes; a reset counts as that."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-"]
)
@pytest.mark.parametrize("after_another", [False, True])
def test_a_head_that_does_not_end_is_not_waited_for(begun: bytes, after_another: bool) -> None:
    """R-SEC-3: slowloris."""
    with bounded(head_s=1.0) as server, server.connect() as connection:
        if after_another:
            connection.sendall(request())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            begun = begun or b"\r"  # an idle connection is kept for longer
        connection.sendall(begun)
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_kept_for_longer_than_a_head_may_take() -> None:
    """A proxy that sends into a connection which is just being closed has lost a request."""
    with bounded(head_s=0.2) as server, server.connect() as connection:
        connection.sendall(request())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with server.connect() as another:  # it takes as long as a head may
            another.sendall(b"GET")
            assert all_of(another).startswith(b"HTTP/1.1 408 ")
        connection.sendall(request())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"{"])
def test_a_body_that_does_not_end_is_not_waited_for(begun: bytes) -> None:
    """R-SEC-3: slowloris, after the head."""
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with bounded(body_s=0.3) as server, server.connect() as connection:
        connection.sendall(head + begun)
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")
        assert server.ask()["path"] == "/"


def test_a_slow_answer_is_no_slow_request() -> None:
    with bounded(head_s=1.0, body_s=1.0) as server, server.connect() as connection:
        connection.sendall(request("/slow", "Connection: close"))
        assert b'"path": "/slow"' in all_of(connection)


def test_a_head_is_bounded_in_bytes(patient: Bounded) -> None:
    with patient.connect() as connection:
        head = request("/", *(f"X-{number}: {'x' * 1000}" for number in range(1000)))
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head)
        answer = all_of(connection)
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")
    assert patient.ask()["path"] == "/"


@pytest.mark.parametrize("path", ["/stream?it", "/big"])
def test_a_client_that_takes_nothing_is_let_go(path: str) -> None:
    """Its stream can be resumed from the journal; what waits for it must not be kept for ever."""
    with bounded(stalled_s=0.3) as server, server.connect(receive_bytes=4096) as connection:
        connection.sendall(request(path, "Connection: close"))
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        if path == "/stream?it":
            assert server.ask()["streaming"] == ["it"]
            eventually(lambda: server.ask()["streaming"] == [], within_s=LONG_S)
        eventually(lambda: is_reset(connection), within_s=LONG_S)


def is_reset(connection: socket.socket) -> bool:
    """Return whether the other side has aborted the connection, without taking anything from it."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def test_a_client_that_takes_little_at_a_time_is_served() -> None:
    with bounded(stalled_s=1.0) as server, server.connect(receive_bytes=4096) as connection:
        connection.sendall(request("/big", "Connection: close"))
        size = 0
        while part := connection.recv(2**20):
            size += len(part)
    assert size > 30_000_000


@pytest.mark.parametrize("path", ["/", "/slow"])
def test_a_client_that_closes_its_half_gets_its_answer(patient: Bounded, path: str) -> None:
    """Source: RFC 9112, section 9.6."""
    with patient.connect() as connection:
        connection.sendall(request(path, body="whole", verb="POST"))
        connection.shutdown(socket.SHUT_WR)
        assert b'"body": "whole"' in all_of(connection)


def test_a_client_that_leaves_its_stream_is_gone(patient: Bounded) -> None:
    with patient.connect() as connection:
        connection.sendall(request("/stream?left"))
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection)


def test_a_body_that_breaks_off_is_not_answered(patient: Bounded) -> None:
    with patient.connect() as connection:
        connection.sendall(request("/", "Content-Length: 100", verb="POST") + b"half")
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection) == b""


def test_pipelined_requests_are_answered_in_order(patient: Bounded) -> None:
    with patient.connect() as connection:
        paths = ["/slow", "/1", "/2", "/3"]
        last = request("/last", "Connection: close")
        connection.sendall(b"".join(request(path, body=path, verb="POST") for path in paths) + last)
        answers = all_of(connection)
    places = [answers.index(b'"path": "%s"' % path.encode()) for path in [*paths, "/last"]]
    assert places == sorted(places)


def test_what_comes_behind_a_body_is_no_header(patient: Bounded) -> None:
    """Source: RFC 9110, section 6.5.1: a trailer that counted could say what a proxy has checked."""
    chunks = b"4\r\nbody\r\n0\r\nAuthorization: Bearer stolen\r\nMcp-Session-Id: stolen\r\n\r\n"
    with patient.connect() as connection:
        connection.sendall(request("/", "Transfer-Encoding: chunked", "Connection: close", verb="POST") + chunks)
        answer = all_of(connection)
    assert b'"body": "body"' in answer and b"stolen" not in answer


NOT_HTTP = [
    b"\0" * 100,
    b"\xff\xfe\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"get / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_what_is_not_http_is_refused_and_the_connection_ends(patient: Bounded, sent: bytes) -> None:
    """R-SEC-3: one request is never taken for two, or for another."""
    with patient.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert patient.ask()["path"] == "/"


WORDS = [
    *(b"GET ", b"POST ", b"/ ", b"/slow ", b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", b"\r\n", b"\n", b"\r", b" ", b":", b"\0"),
    *(b"Host: a\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"Connection: close\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"X: \xff\r\n",
    ),
    *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", request(), request(body="abc", verb="POST")),
]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS) | st.binary(max_size=20), max_size=20), st.integers(1, 50))
def test_whatever_is_sent_the_connection_comes_to_an_end(patient: Bounded, words: list[bytes], size: int) -> None:
    """R-SEC-3: in pieces of any size; what is sent back begins with an answer, and others are served."""
    sent = b"".join(words)
    with patient.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # it may be closed by then
            for begin in range(0, len(sent), size):
                connection.sendall(sent[begin : begin + size])
            connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert not answer or re.match(rb"HTTP/1\.1 (?:100|200|400|408) ", answer)


def test_an_offer_to_upgrade_is_not_taken_up(patient: Bounded) -> None:
    with patient.connect() as connection:
        connection.sendall(request("/", "Connection: Upgrade", "Upgrade: websocket"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_many_that_say_nothing_do_not_keep_others_from_being_served(patient: Bounded) -> None:
    """R-SEC-3: slowloris with 2,000 connections."""
    with ExitStack() as connections:
        for number in range(2000):
            slow = connections.enter_context(patient.connect())
            slow.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: "[: number % 45])
        assert [patient.ask(f"/{number}")["path"] for number in range(20)] == [f"/{number}" for number in range(20)]


def test_connections_are_bounded() -> None:
    with bounded(connections_max=10) as server, ExitStack() as connections:
        for _ in range(10):
            idle = connections.enter_context(server.connect())
            idle.sendall(request())
            assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        with server.connect() as one_more:
            refused = all_of(one_more)
            assert refused.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in refused
        idle.sendall(request())
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        connections.close()
        eventually(lambda: server.ask()["path"] == "/", within_s=LONG_S)
