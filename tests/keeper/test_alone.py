"""A keeper whose server is gone: workers live on, what they say waits within bounds, and the next server has it all."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

import holdfast_keeper
from holdfast_keeper import wire
from holdfast_keeper.backlog import FRAME_COST
from tests.kit import eventually

from .habits import PROGRAM, alive

pytestmark = pytest.mark.slow
ANSWERS_WITHIN_S = 60
WORKER = 7
SPILL_BYTES_MAX = 16 * 2**20
UNHEARD_BYTES_MAX = 32 * 2**20  # sent and not acknowledged
DISK_BYTES = 2**20
CHUNK_BYTES = 2**16  # what the keeper reads and spills at once
ENOUGH = 150_000  # frames of 230 bytes: twice what is kept of a worker


class Said(NamedTuple):
    """One message of the keeper."""

    kind: int
    worker: int
    payload: bytes
    number: int

    @property
    def fields(self) -> Any:
        return json.loads(self.payload)


class Server:
    """A connection to the keeper in the role of a server, that does nothing by itself."""

    terms = 0

    def __init__(self, connection: socket.socket) -> None:
        Server.terms += 1
        self._socket = connection
        self._socket.settimeout(ANSWERS_WITHIN_S)
        self._splitter = wire.Splitter()
        self._heard: deque[Said] = deque()
        self.tell(
            wire.HELLO, fields={"versions": [wire.VERSION], "role": "server", "term": self.terms, "pid": os.getpid()}
        )
        self.keeper = int(self.hear(wire.HELLO).fields["pid"])

    @classmethod
    def following(cls, data: Path) -> Self:
        """Connect to the keeper that runs."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(data / wire.SOCKET))
        return cls(connection)

    def tell(self, kind: int, worker: int = 0, number: int = 0, *, payload: bytes = b"", fields: Any = None) -> None:
        data = payload if fields is None else json.dumps(fields).encode()
        self._socket.sendall(wire.HEADER.pack(len(data), kind, worker, number) + data)

    def hear(self, *kinds: int) -> Said:
        """Return the next message of one of these kinds; others are passed over."""
        while True:
            while self._heard:
                if (said := self._heard.popleft()).kind in kinds:
                    return said
            chunk = self._socket.recv(2**18)
            assert chunk, "the keeper ended the connection"
            self._heard.extend(Said(*message) for message in self._splitter.feed(chunk))

    def spawn(self, data: Path, *habit: str, keep_s: float = 3600.0) -> int:
        """Start a worker and return its pid."""
        place = data / "one"
        (place / "work").mkdir(parents=True)
        fields = {
            "label": "one",
            "command": [sys.executable, "-I", "-S", str(PROGRAM), *habit],
            "place": str(place),
            "env": {"PATH": os.defpath},
            "frame_bytes_max": 2**20,
            "files_max": None,
            "keep_s": keep_s,
        }
        self.tell(wire.SPAWN, WORKER, fields=fields)
        return int(self.hear(wire.STARTED).fields["pid"])

    def ask(self, frame: bytes) -> None:
        """Send a frame to the worker and return once the keeper has it."""
        self.tell(wire.FRAME | wire.RECEIPT, WORKER, payload=frame)
        self.hear(wire.ACCEPTED)

    def attach(self) -> Any:
        self.tell(wire.ATTACH, WORKER, fields={"label": "one"})
        attached = self.hear(wire.ATTACHED).fields
        self.tell(wire.GO, WORKER)
        return attached

    def done(self, *numbers: int) -> None:
        self.tell(wire.DONE, payload=b"".join(wire.DONE_ENTRY.pack(WORKER, number, 0) for number in numbers))

    def take(self, count: int) -> list[Said]:
        """Receive so many frames, and acknowledge each."""
        frames = []
        for _ in range(count):
            frames.append(self.hear(wire.FRAME))
            self.done(frames[-1].number)
        return frames

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def keeping(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], Server]]:
    """Give a keeper and its first server; at the end the keeper is killed, and its workers with it."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-I", holdfast_keeper.__path__[0], str(theirs.fileno()), str(data)]
        keeper = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    with keeper:
        try:
            with contextlib.closing(Server(ours)) as server:
                yield keeper, server
        finally:
            keeper.kill()


def memory_bytes(pid: int, what: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{what}:")[2].split()[0]) * 1024


def waits_for(pid: int, what: str) -> bool:
    return what in Path(f"/proc/{pid}/wchan").read_text()


def spilled_bytes(data: Path) -> int:
    """What lies in the worker's place besides its log."""
    sizes = [file.stat().st_size for file in (data / "one").iterdir() if file.is_file() and "log" not in file.name]
    return sum(sizes)


def numbers_in(frames: list[Said]) -> list[int]:
    return [frame.fields["number"] for frame in frames]


def cost_of(frames: list[Said]) -> int:
    return sum(len(frame.payload) + FRAME_COST for frame in frames)


def numbered(frames: list[Said]) -> bool:
    """Say whether the keeper's numbers grow by one."""
    return [frame.number - frames[0].number for frame in frames] == list(range(len(frames)))


def left_flooding(data: Path, server: Server, count: int) -> int:
    """Have a worker begin to write so many frames, and leave it; return its pid."""
    worker = server.spawn(data, "flood")
    server.ask(b"%d" % count)
    server.close()
    return worker


def test_a_worker_that_floods_is_paused_and_nothing_it_wrote_is_lost(tmp_path: Path) -> None:
    """R-KEE-2: what waits for the next server is bounded in memory and on disk."""
    with keeping(tmp_path) as (keeper, server):
        before = memory_bytes(keeper.pid, "VmRSS")
        worker = left_flooding(tmp_path, server, ENOUGH)
        eventually(
            lambda: spilled_bytes(tmp_path) > SPILL_BYTES_MAX - 2 * CHUNK_BYTES and waits_for(worker, "pipe_write")
        )
        assert spilled_bytes(tmp_path) <= SPILL_BYTES_MAX
        assert memory_bytes(keeper.pid, "VmHWM") - before < 4 * 2**20
        with contextlib.closing(Server.following(tmp_path)) as follower:
            attached = follower.attach()
            frames = follower.take(ENOUGH)
            assert numbers_in(frames) == list(range(ENOUGH))
            assert numbered(frames)
            assert frames[0].number == attached["first"]
            eventually(lambda: spilled_bytes(tmp_path) == 0)
            follower.ask(b'"after"')
            assert follower.take(1)[0].payload == b'"after"'
        assert alive(worker)


def test_a_server_that_acknowledges_nothing_is_sent_no_more_than_may_wait_for_it(tmp_path: Path) -> None:
    """Twice in a row: what was sent and not acknowledged goes to the next server, and the keeper grows no further."""
    with keeping(tmp_path) as (keeper, server):
        before = memory_bytes(keeper.pid, "VmRSS")
        worker = left_flooding(tmp_path, server, 2 * ENOUGH)
        for _ in range(2):
            eventually(lambda: waits_for(worker, "pipe_write"))
            with contextlib.closing(Server.following(tmp_path)) as deaf:
                deaf.attach()
                taken, cost = [], 0
                while cost <= UNHEARD_BYTES_MAX:
                    taken.append(deaf.hear(wire.FRAME))
                    cost += cost_of(taken[-1:])
                deaf.tell(wire.FRAME | wire.RECEIPT, WORKER, payload=b'"after"')
                while (said := deaf.hear(wire.FRAME, wire.ACCEPTED)).kind == wire.FRAME:
                    taken.append(said)
                assert numbers_in(taken) == list(range(len(taken)))
                assert cost_of(taken) < UNHEARD_BYTES_MAX + 2 * CHUNK_BYTES
        assert memory_bytes(keeper.pid, "VmHWM") - before < UNHEARD_BYTES_MAX + 16 * 2**20
        with contextlib.closing(Server.following(tmp_path)) as follower:
            follower.attach()
            assert numbers_in(follower.take(2 * ENOUGH)) == list(range(2 * ENOUGH))


@contextlib.contextmanager
def full_disk(place: Path, keeper: int) -> Iterator[None]:
    """Let the keeper write `DISK_BYTES` and no more: on a disk of that size, or by its limit where none can be made."""
    options = f"size={DISK_BYTES},mode=0700"
    mounted = subprocess.run(
        [shutil.which("mount") or "false", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))
    try:
        yield
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_pauses_a_worker_and_nothing_is_lost(tmp_path: Path) -> None:
    """R-KEE-2"""
    with keeping(tmp_path) as (keeper, server):
        worker = server.spawn(tmp_path, "flood")
        before = memory_bytes(keeper.pid, "VmRSS")
        with full_disk(tmp_path / "one", keeper.pid):
            server.ask(b"20000")
            server.close()
            eventually(
                lambda: spilled_bytes(tmp_path) > DISK_BYTES - 2 * CHUNK_BYTES and waits_for(worker, "pipe_write")
            )
            assert memory_bytes(keeper.pid, "VmHWM") - before < 4 * 2**20
            with contextlib.closing(Server.following(tmp_path)) as follower:
                follower.attach()
                frames = follower.take(20_000)
                assert numbers_in(frames) == list(range(20_000))
                assert numbered(frames)
        assert alive(worker)


def test_a_worker_that_exits_while_nobody_is_there_is_heard_to_its_end_and_then_its_exit(tmp_path: Path) -> None:
    """R-KEE-2: the exit is told again until it is acknowledged; then nothing keeps the keeper."""
    with keeping(tmp_path) as (keeper, server):
        worker = left_flooding(tmp_path, server, 5000)
        eventually(lambda: spilled_bytes(tmp_path) > 0 and waits_for(worker, "pipe_read"))
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: not alive(worker))
        for heard_before in (0, 3000, 5000):
            with contextlib.closing(Server.following(tmp_path)) as follower:
                assert follower.hear(wire.ORPHAN).fields == {"label": "one"}
                follower.attach()
                taken = follower.take({0: 3000, 3000: 2000, 5000: 0}[heard_before])
                assert numbers_in(taken) == list(range(heard_before, heard_before + len(taken)))
                if heard_before:
                    exited = follower.hear(wire.EXITED)
                    assert exited.fields["signal"] == signal.SIGKILL
                    assert not taken or exited.number == taken[-1].number + 1
        assert keeper.poll() is None
        with contextlib.closing(Server.following(tmp_path)) as follower:
            follower.attach()
            follower.done(follower.hear(wire.EXITED).number)
        assert keeper.wait(ANSWERS_WITHIN_S) == 0


def test_an_exit_is_told_again_until_all_before_it_is_acknowledged_too(tmp_path: Path) -> None:
    """Else the next server has a worker of which it never hears that it ended, and waits for its answers for ever."""
    with keeping(tmp_path) as (keeper, server):
        worker = server.spawn(tmp_path, "echo")
        server.tell(wire.GO, WORKER)
        server.ask(b'"a question"')
        asked = server.hear(wire.FRAME)
        os.kill(worker, signal.SIGKILL)
        exited = server.hear(wire.EXITED)
        server.done(exited.number)
        server.close()
        with contextlib.closing(Server.following(tmp_path)) as follower:
            attached = follower.attach()
            assert (attached["first"], attached["last"]) == (asked.number, exited.number)
            assert follower.take(1) == [asked]
            assert follower.hear(wire.EXITED) == exited
            assert keeper.poll() is None
            follower.done(exited.number)
        assert keeper.wait(ANSWERS_WITHIN_S) == 0


def test_a_worker_that_no_server_comes_for_in_time_is_ended_and_the_keeper_with_it(tmp_path: Path) -> None:
    with keeping(tmp_path) as (keeper, server):
        worker = server.spawn(tmp_path, "echo", keep_s=0.5)
        server.ask(b'"never heard"')
        server.close()
        assert keeper.wait(ANSWERS_WITHIN_S) == 0
        assert not alive(worker)
        assert not (tmp_path / wire.SOCKET).exists()
        assert spilled_bytes(tmp_path) == 0


def test_who_comes_in_time_finds_its_worker_and_the_time_begins_anew(tmp_path: Path) -> None:
    with keeping(tmp_path) as (keeper, server):
        worker = server.spawn(tmp_path, "echo", keep_s=20.0)
        server.close()
        for frame in (b'"one"', b'"two"'):
            with contextlib.closing(Server.following(tmp_path)) as follower:
                assert follower.attach()["pid"] == worker
                follower.ask(frame)
                assert follower.take(1)[0].payload == frame
        assert alive(worker)
        assert keeper.poll() is None


def test_a_worker_not_to_be_kept_ends_with_its_server(tmp_path: Path) -> None:
    with keeping(tmp_path) as (keeper, server):
        worker = server.spawn(tmp_path, "flood", keep_s=0.0)
        server.ask(b"%d" % ENOUGH)
        server.close()
        assert keeper.wait(ANSWERS_WITHIN_S) == 0
        assert not alive(worker)
        assert spilled_bytes(tmp_path) == 0
