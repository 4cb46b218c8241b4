"""Idle connections move from one server process to the next, and no client notices: real processes, bare sockets."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from tests.kit import ROOT, eventually

pytestmark = pytest.mark.slow

LONG_S: Final = 60.0
PROGRAM: Final = str(ROOT / "tests" / "programs" / "moving_server.py")


class Process:
    """A running `moving_server.py`."""

    def __init__(self, words: list[str], descriptors: list[int]) -> None:
        command = [sys.executable, PROGRAM, *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, pass_fds=descriptors
        )
        self.pid = self.process.pid
        self.read_line("listening")

    def read_line(self, wanted: str) -> None:
        """Return once it has said `wanted`."""
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) != f"{wanted}\n":
            assert line, f"it ended without {wanted}"

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")

    def leave(self) -> None:
        """Let it begin to leave."""
        self.tell("leave")
        self.read_line("leaving")

    def ended(self) -> int:
        """Return its exit code once it has nothing left to serve."""
        self.tell("go")
        return self.process.wait(LONG_S)

    def close(self) -> None:
        self.process.kill()
        with self.process:
            pass


class Two:
    """The one that leaves, and the one that comes after it once it is started."""

    def __init__(self, processes: ExitStack, listener: socket.socket, bounds: list[str]) -> None:
        self._processes = processes
        self._bounds = bounds
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self._theirs, self._ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.old = self._start(self._channel(), self._ours)

    def start_new(self) -> Process:
        return self._start(self._theirs, self._channel())

    def _channel(self) -> socket.socket:
        """Return one whose other end is closed."""
        end, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        other.close()
        return end

    def no_new(self) -> None:
        self._theirs.close()

    def client(self, *, receive_bytes: int | None = None) -> Client:
        client = Client(self.port, receive_bytes)
        self._processes.callback(client.socket.close)
        return client

    def _start(self, predecessor: socket.socket, successor: socket.socket) -> Process:
        with predecessor, successor:
            descriptors = [self._listener.fileno(), predecessor.fileno(), successor.fileno()]
            process = Process([*map(str, descriptors), *self._bounds], descriptors)
        self._processes.callback(process.close)
        return process


@contextmanager
def two(connections_max: int = 10_000, head_s: float = 60.0, send_bytes: int | None = None) -> Iterator[Two]:
    with ExitStack() as processes, socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        if send_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        listener.setblocking(False)
        yield Two(processes, listener, [str(connections_max), str(head_s)])


class Client:
    """One connection that is kept; whatever ends it fails the test."""

    def __init__(self, port: int, receive_bytes: int | None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(LONG_S)
        self.socket.connect(("127.0.0.1", port))
        self._read = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, path: str = "/") -> int:
        """Return the pid of who answers."""
        self.socket.sendall(request(path))
        return self.answer(path)

    def answer(self, path: str = "/", body: str = "", *, already: bytes = b"") -> int:
        self._read += already
        while (found := whole(self._read)) is None:
            part = self.socket.recv(2**20)
            assert part, f"the connection ended after {self._read[:100]!r}"
            self._read += part
        head, told, self._read = found
        assert b"connection: close" not in head
        pid, said_path, said_body = told.split(b" ")
        assert (said_path, said_body.rstrip(b"x")) == (path.encode(), body.encode())
        return int(pid)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def request(path: str = "/", *, body: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def whole(read: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return head and body of the first answer in `read`, and what comes behind it."""
    head, _, rest = read.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    if length is None or len(rest) < int(length[1]):
        return None
    return head, rest[: int(length[1])], rest[int(length[1]) :]


def test_an_idle_connection_moves_and_its_client_notices_nothing() -> None:
    """R-KEE-1: both one that had a request and one that never had."""
    with two() as servers:
        kept, fresh = servers.client(), servers.client()
        assert kept.ask() == servers.old.pid
        new = servers.start_new()
        servers.old.leave()
        assert servers.old.ended() == 0
        for client in (kept, fresh):
            client.socket.settimeout(0)
            with pytest.raises(BlockingIOError):  # neither an end nor a byte
                client.socket.recv(1)
            client.socket.settimeout(LONG_S)
            assert [client.ask(), client.ask()] == [new.pid, new.pid]


@pytest.mark.parametrize("sent", ["whole", "half"])
def test_a_request_under_way_is_answered_where_it_began(sent: str) -> None:
    """R-KEE-1: also one whose body is not there yet; the next one on the connection goes to the new server."""
    with two() as servers:
        client = servers.client()
        asked = request("/held", body="0123456789")
        cut = len(asked) - (5 if sent == "half" else 0)
        client.socket.sendall(asked[:cut])
        servers.old.read_line("begun")
        new = servers.start_new()
        servers.old.leave()
        client.socket.sendall(asked[cut:])
        servers.old.tell("go")
        assert client.answer("/held", "0123456789") == servers.old.pid
        assert client.ask() == new.pid
        assert servers.old.ended() == 0


@pytest.mark.parametrize("cut", [1, 4, 20, 45])
def test_a_head_that_has_begun_is_read_to_its_end_where_it_began(cut: int) -> None:
    """R-KEE-1: what one process has read of a request, the other could never know."""
    with two() as servers:
        client = servers.client()
        asked = request("/second", body="everything")
        client.socket.sendall(request("/first") + asked[:cut])  # both are read at once
        assert client.answer("/first") == servers.old.pid
        new = servers.start_new()
        servers.old.leave()
        another = servers.client()
        eventually(lambda: another.ask() == new.pid)
        client.socket.sendall(asked[cut:])
        assert client.answer("/second", "everything") == servers.old.pid
        assert client.ask() == new.pid
        assert servers.old.ended() == 0


def test_requests_that_wait_for_one_before_them_are_answered_where_they_are_read() -> None:
    with two() as servers:
        client = servers.client()
        client.socket.sendall(b"".join(request(path) for path in ("/held", "/1", "/2")))
        servers.old.read_line("begun")
        new = servers.start_new()
        servers.old.leave()
        servers.old.tell("go")
        assert [client.answer(path) for path in ("/held", "/1", "/2")] == [servers.old.pid] * 3
        assert client.ask() == new.pid
        assert servers.old.ended() == 0


@pytest.mark.parametrize(("path", "send_bytes"), [("/big", None), ("/little", 4096)])
def test_an_answer_is_sent_whole_before_its_connection_moves(path: str, send_bytes: int | None) -> None:
    """R-KEE-1: also when so little is left that nobody is told to wait with writing more."""
    with two(send_bytes=send_bytes) as servers:
        client = servers.client(receive_bytes=4096)
        client.socket.sendall(request(path))
        assert client.socket.recv(15) == b"HTTP/1.1 200 OK"
        new = servers.start_new()
        servers.old.leave()
        assert client.answer(path, already=b"HTTP/1.1 200 OK") == servers.old.pid
        assert servers.old.ended() == 0
        assert client.ask() == new.pid


def test_an_idle_connection_that_moved_is_kept_for_as_long_as_any() -> None:
    """A proxy that sends into a connection which is just being closed has lost a request."""
    with two(head_s=0.5) as servers:
        kept = servers.client()
        assert kept.ask() == servers.old.pid
        new = servers.start_new()
        servers.old.leave()
        assert servers.old.ended() == 0
        with socket.create_connection(("127.0.0.1", servers.port), LONG_S) as slow:  # it takes as long as a head may
            slow.sendall(b"GET")
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
        assert kept.ask() == new.pid


def test_connections_that_move_count_like_others() -> None:
    """R-SEC-3: bounds hold wherever a connection comes from."""
    with two(connections_max=16) as servers:
        clients = [servers.client() for _ in range(16)]
        assert {client.ask() for client in clients} == {servers.old.pid}
        new = servers.start_new()
        here = servers.client()  # the old one has as many as it may, so that its 503 must not be mistaken
        while (here_pid := accepted_by(here)) != new.pid:
            assert here_pid is None
            here = servers.client()
        servers.old.leave()
        assert servers.old.ended() == 0
        answers = []
        for client in clients:
            client.socket.sendall(request())
            answers.append(client.socket.recv(12))
        assert sorted(answers) == [b"HTTP/1.1 200"] * 15 + [b"HTTP/1.1 503"]
        assert here.ask() == new.pid


def accepted_by(client: Client) -> int | None:
    """Return the pid of who accepted the connection, None when that one is full."""
    client.socket.sendall(request())
    try:
        refused = client.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 503"
    except ConnectionResetError:
        refused = True
    return None if refused else client.answer()


def test_a_server_whose_successor_dies_serves_on_until_each_client_has_its_answer() -> None:
    with two() as servers:
        idle, later, busy = servers.client(), servers.client(), servers.client()
        assert {idle.ask(), later.ask()} == {servers.old.pid}
        busy.socket.sendall(request("/held"))
        servers.old.read_line("held")
        servers.no_new()
        servers.old.leave()
        for client in (idle, later):  # the second surely asks after the end was noticed
            client.socket.sendall(request())
            assert b"connection: close" in client.socket.recv(65536)
            assert client.socket.recv(1) == b""
        servers.old.tell("go")
        assert b"connection: close" in busy.socket.recv(65536)
        assert servers.old.ended() == 0


def test_connections_that_the_successor_is_slow_to_take_are_served_meanwhile() -> None:
    """R-KEE-1: more than the channel holds; a client that left meanwhile disturbs nobody."""
    with two() as servers:
        clients = [servers.client() for _ in range(600)]
        assert {client.ask() for client in clients} == {servers.old.pid}
        new = servers.start_new()
        os.kill(new.pid, signal.SIGSTOP)
        servers.old.leave()
        for client in clients:
            client.socket.sendall(request())
        assert select.select(clients[20:], [], [], LONG_S)[0]  # whoever is not under way is served
        for client in clients[:20]:
            client.reset()
        os.kill(new.pid, signal.SIGCONT)
        answered_by = [client.answer() for client in clients[20:]]
        assert set(answered_by) == {servers.old.pid, new.pid}
        assert servers.old.ended() == 0
        assert {client.ask() for client in clients[20:]} == {new.pid}


async def test_no_request_of_200_clients_under_load_fails_while_their_connections_move() -> None:
    """R-KEE-1: some never pause, some send in pieces, some two at once, some are idle for long."""
    with two() as servers:
        moved = asyncio.Event()
        started = asyncio.Barrier(201)
        going = [asyncio.create_task(load(servers.port, number, started, moved)) for number in range(200)]
        await started.wait()
        new = await asyncio.to_thread(servers.start_new)
        await asyncio.to_thread(servers.old.leave)
        code = await asyncio.to_thread(servers.old.ended)
        moved.set()
        served = await asyncio.gather(*going)
        assert code == 0
        for pids in served:
            assert set(pids) == {servers.old.pid, new.pid}
            assert sorted(pids, key=[servers.old.pid, new.pid].index) == pids, "one came back"
            assert pids[0] == servers.old.pid and pids[-20:] == [new.pid] * 20


async def load(port: int, number: int, started: asyncio.Barrier, moved: asyncio.Event) -> list[int]:
    """Ask again and again, in a way that depends on `number`; return the pids of who answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    pids = []
    for turn in range(1_000_000):
        is_over = moved.is_set()
        for _ in range(20 if is_over else 1):
            pids += await ask(reader, writer, f"/{number}/{turn}", number % 4)
        if is_over:
            break
        if turn == 0:
            await started.wait()
        if number % 4 == 3 and turn % 5 == 4:
            await moved.wait()
    writer.close()
    return pids


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, way: int) -> list[int]:
    sent = [request(f"{path}/{number}", body="x" * 10) for number in range(2 if way == 1 else 1)]
    if way == 2:
        (one,) = sent
        for begin in range(0, len(one), 30):
            writer.write(one[begin : begin + 30])
            await asyncio.sleep(0)
    else:
        writer.write(b"".join(sent))
    pids = []
    for number in range(len(sent)):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONG_S)
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None and b"connection: close" not in head
        pid, said_path, body = (await reader.readexactly(int(length[1]))).decode().split(" ")
        assert (said_path, body) == (f"{path}/{number}", "x" * 10)
        pids.append(int(pid))
    return pids
