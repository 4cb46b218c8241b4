"""Versions meet: the keeper of an earlier version serves the servers that come after it, which is how one upgrades."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import holdfast_keeper
from holdfast.gateway import Exit
from holdfast.gateway.contract import Inventory
from holdfast.gateway.keeper import KeeperSettings, KeeperWorkers
from holdfast.gateway.keeper_worker import KeeperWorker
from holdfast_keeper import wire
from tests.kit import PROBE, eventually_async, keeper_of, serving

from .frozen import ANSWERS_WITHIN_S, ARCHIVES, archive_of, freeze, frozen
from .habits import PROGRAM

pytestmark = pytest.mark.slow

SETTINGS: Final = KeeperSettings(
    command=(sys.executable, "-I", "-S", str(PROGRAM), "echo"), env={"LANG": "C.UTF-8"}, keep_s=3600.0, at_end="keep"
)
NEWER: Final = 9


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.stem)
def archive(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


class Heard:
    """What one worker said to one server, which acknowledges nothing."""

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, int]] = []
        self.exits: list[Exit] = []

    def hear(self, frame: bytes, number: int) -> None:
        self.frames.append((frame, number))

    async def reaches(self, count: int) -> None:
        await eventually_async(lambda: len(self.frames) >= count)


async def attached(workers: KeeperWorkers, label: str, heard: Heard) -> tuple[KeeperWorker, Inventory]:
    found = await workers.attach(label, on_frame=heard.hear, on_exit=heard.exits.append)
    assert found is not None
    return found


def test_the_version_spoken_now_is_among_those_that_are_kept() -> None:
    assert archive_of(wire.VERSION) in ARCHIVES, "see frozen.py"


def test_the_archive_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        freeze(tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


async def test_a_worker_passes_from_server_to_server_through_an_older_keeper(archive: Path, tmp_path: Path) -> None:
    """R-KEE-1, R-KEE-2: everything that today's server says to a keeper is understood by it."""
    data = tmp_path / "data"
    (data / "one" / "work").mkdir(parents=True)
    heard, again = Heard(), Heard()
    with frozen(archive, tmp_path / "older", data) as keeper:
        async with KeeperWorkers.open(SETTINGS, data, term=1) as workers:
            keeper.leave()
            worker = await workers.spawn("one", data / "one", on_frame=heard.hear, on_exit=heard.exits.append)
            worker.go()
            worker.reached(2)
            worker.send(b'{"id":1}', call=1, note=b"the first")
            await worker.deliver(b'{"id":2}', first=True)
            await heard.reaches(2)
        async with KeeperWorkers.open(SETTINGS, data, term=2) as workers:
            assert await workers.orphan() == "one"
            worker, inventory = await attached(workers, "one", again)
            assert inventory.stage == 2
            assert (inventory.first, inventory.last) == (heard.frames[0][1], heard.frames[-1][1])
            assert [(call.call, call.note) for call in inventory.calls] == [(1, "the first")]
            worker.go()
            await again.reaches(2)
            assert again.frames == heard.frames
            worker.done(inventory.first, 1)
            worker.done(inventory.last)
            await worker.deliver(b'{"id":3}')
            await again.reaches(3)
            assert await workers.attach("two", on_frame=again.hear, on_exit=again.exits.append) is None
            assert keeper_of(data) == keeper.pid
            await worker.stop(grace_s=10.0)
            worker.done(again.frames[-1][1])
            worker.done(again.exits[0].number)
        assert keeper.process.wait(ANSWERS_WITHIN_S) == 0, "nobody needs it any more"


def test_todays_server_takes_over_and_is_replaced_through_an_older_keeper(archive: Path, tmp_path: Path) -> None:
    """R-KEE-1: the way to upgrade; the keeper, its workers and a call in flight see three servers."""
    with serving(tmp_path / "data", "--answer", "stream", command=PROBE) as served:
        assert served.terminate() == 0  # its folder is there now, and its keeper is gone
        with frozen(archive, tmp_path / "older", served.data) as keeper:
            served.start()
            keeper.leave()
            client = served.opened()
            assert client.call("count") == "1"
            params = {"name": "progress", "arguments": {"n": 300, "pause": 0.01}, "_meta": {"progressToken": "t"}}
            with client.request("tools/call", params, id="long") as reply:
                opening = next(reply.events())
                served.kill()
            served.start()
            first = served.process
            served.start("--replace")
            assert first is not None and first.stdout is not None
            with first.stdout:
                assert first.wait(ANSWERS_WITHIN_S) == 0
            messages = [event.message for event in client.get(opening.id).events() if event.message is not None]
            assert [message["params"]["progress"] for message in messages[:-1]] == list(range(300))
            assert messages[-1]["id"] == "long"
            assert "result" in messages[-1]
            assert client.call("count") == "2"
            assert keeper_of(served.data) == keeper.pid
            assert served.terminate() == 0
            assert keeper.process.wait(ANSWERS_WITHIN_S) == 0


def greeting(ours: socket.socket, **fields: Any) -> dict[str, Any]:
    """Return what a keeper says to a HELLO with these fields."""
    ours.sendall(wire.message(wire.HELLO, 0, json.dumps({"role": "server", "term": 1, "pid": 1} | fields).encode()))
    [(kind, _, payload, _)] = wire.Splitter().feed(ours.recv(65536))
    assert kind == wire.HELLO
    said: dict[str, Any] = json.loads(payload)
    return said


@pytest.mark.parametrize(
    ("versions", "taken"), [([wire.VERSION, NEWER], True), ([NEWER, wire.VERSION], True), ([NEWER], False)], ids=str
)
def test_the_keeper_takes_a_newer_server_that_speaks_its_version_too(
    versions: list[int], taken: bool, tmp_path: Path
) -> None:
    """What such a server says besides is passed over."""
    ours, theirs = socket.socketpair()
    ours.settimeout(ANSWERS_WITHIN_S)
    with ours, theirs:
        command = [sys.executable, "-I", holdfast_keeper.__path__[0], str(theirs.fileno()), str(tmp_path)]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as keeper:
            theirs.close()
            said = greeting(ours, versions=versions, unheard_of={"in": 2026})
            ours.close()
            assert keeper.wait(ANSWERS_WITHIN_S) == 0
    assert said["version"] == wire.VERSION
    assert ("error" not in said) is taken
    assert taken or f"speaks version {wire.VERSION} of its protocol" in said["error"]


@contextlib.contextmanager
def newer_keeper(data: Path, said: dict[str, Any]) -> Iterator[None]:
    """Listen at the keeper's socket and say this to everyone who comes, as a keeper does that lets nobody in."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(data / wire.SOCKET))
    listener.listen()

    def answer() -> None:
        with contextlib.suppress(OSError):  # the listener was shut
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(wire.message(wire.HELLO, 0, json.dumps(said).encode()))

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        answering.join()
        listener.close()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"version": NEWER, "pid": 1, "error": "the keeper speaks version 9 of its protocol, whoever connects [2]"},
            "holdfast: the keeper cannot be used: the keeper speaks version 9 of its protocol, whoever connects [2]\n",
        ),
        (
            {"version": NEWER, "pid": 1},
            "holdfast: the keeper cannot be used: it speaks version 9 of its protocol, this server version 2\n",
        ),
    ],
    ids=["it refuses", "it does not"],
)
def test_a_server_that_finds_a_newer_keeper_says_so_and_leaves_it_alone(
    said: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", command=PROBE) as served:
        assert served.terminate() == 0
        with newer_keeper(served.data, said):
            words = ["serve", "--port", "0", "--data", str(served.data), "--", *PROBE]
            ran = subprocess.run(
                [sys.executable, "-m", "holdfast", *words],
                capture_output=True,
                text=True,
                timeout=ANSWERS_WITHIN_S,
                check=False,
            )
            assert (ran.returncode, ran.stderr) == (1, told)
            assert (served.data / wire.SOCKET).exists()
        (served.data / wire.SOCKET).unlink()
