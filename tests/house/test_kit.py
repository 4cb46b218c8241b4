"""The instruments the other tests trust can fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import kit

WORKER = "print('ready', flush=True); input()"


BLOCKING: dict[str, Callable[[Path], object]] = {
    "sleep": lambda _: time.sleep(0),
    "Connection.execute": lambda path: _look_into_a_database(path / "db"),
    "fsync": lambda path: _fsync(path / "file"),
    "open": lambda path: (path / "file").write_text("x"),
    "TextIOWrapper.read": lambda path: (path / "here").read_text(),
    "mkdir": lambda path: (path / "folder").mkdir(),
    "scandir": lambda path: shutil.rmtree(path / "empty"),
    "waitpid": lambda _: subprocess.run([sys.executable, "-S", "-c", ""], check=True),
    "lock.acquire": lambda _: threading.Event().wait(0.001),
    "SimpleQueue.get": lambda _: _get_from_an_empty_queue(),
    "socket.recv": lambda _: _receive_from_a_blocking_socket(),
}


@pytest.mark.parametrize("what", BLOCKING)
async def test_a_call_that_may_wait_fails_the_watch_however_short_it_is(what: str, tmp_path: Path) -> None:
    """Blocking is told by what is called. R-PER-5"""
    (tmp_path / "here").write_text("x")
    (tmp_path / "empty").mkdir()
    told = f"blocked: .*{what} called by .*test_kit.py"
    with pytest.raises(pytest.fail.Exception, match=told), kit.LoopWatch():
        await asyncio.sleep(0)
        BLOCKING[what](tmp_path)
        await asyncio.sleep(0)


async def test_too_many_calls_in_one_go_fail_the_watch() -> None:
    """R-PER-5"""
    with pytest.raises(pytest.fail.Exception, match=r"blocked: \d+ calls \(bound 30000\) in one go"), kit.LoopWatch():
        await asyncio.sleep(0)
        for at in range(40_000):
            abs(at)
        await asyncio.sleep(0)


async def test_a_callback_that_computes_for_long_fails_the_watch() -> None:
    """R-PER-5: also when it calls nothing."""
    rounds = 0
    with pytest.raises(pytest.fail.Exception, match="one callback computed for"):
        for watch in kit.LoopWatch.rounds():
            rounds += 1
            with watch:
                await asyncio.sleep(0)
                _compute(0.3)
                await asyncio.sleep(0)
    assert rounds == 3


async def test_one_round_that_was_quick_passes_the_watch() -> None:
    rounds = 0
    for watch in kit.LoopWatch.rounds():
        rounds += 1
        with watch:
            _compute(0.3 if rounds == 1 else 0.0)
    assert rounds > 1


async def test_a_loop_that_only_waits_passes_the_watch(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    (tmp_path / "empty").mkdir()
    for watch in kit.LoopWatch.rounds():
        with watch:
            for _ in range(40):
                for at in range(1000):
                    abs(at)
                await asyncio.sleep(0)
            for block in BLOCKING.values():
                await asyncio.to_thread(block, tmp_path)
            process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
            assert await process.wait() == 0


def _compute(cpu_s: float) -> None:
    """Take so much processor time with few calls."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        for _ in range(100_000):
            pass


def _look_into_a_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("SELECT 1")


def _fsync(path: Path) -> None:
    with path.open("w") as file:
        os.fsync(file.fileno())


def _get_from_an_empty_queue() -> None:
    with contextlib.suppress(queue.Empty):
        queue.SimpleQueue[None]().get(timeout=0.001)


def _receive_from_a_blocking_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        assert ours.recv(1) == b"x"


def test_a_missing_tool_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not on PATH"):
        kit.require("no-such-tool")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not on PATH"):
        kit.require("no-such-tool")


def test_a_worker_with_a_clean_environment_is_found_by_its_folder(tmp_path: Path) -> None:
    """R-ISO-1"""
    worker = _start({"HOLDFAST_WORKER": "x", "HOLDFAST_SESSION_DIR": str(tmp_path / "s")})
    try:
        assert [process.pid for process in kit.leftovers("another run", tmp_path)] == [worker.pid]
    finally:
        worker.communicate(b"\n", timeout=10)
    assert kit.leftovers("another run", tmp_path) == set()


def test_somebody_elses_worker_is_not_blamed_on_this_run(tmp_path: Path) -> None:
    worker = _start({"HOLDFAST_WORKER": "x", kit.TEST_RUN_VARIABLE: "theirs"})
    try:
        assert worker.pid not in {process.pid for process in kit.leftovers("ours", tmp_path)}
        assert worker.pid in {process.pid for process in kit.leftovers("theirs", tmp_path)}
    finally:
        worker.communicate(b"\n", timeout=10)


def test_what_does_not_end_in_time_is_killed_and_told(tmp_path: Path) -> None:
    worker = _start({"HOLDFAST_WORKER": "x", "HOLDFAST_SESSION_DIR": str(tmp_path / "s")})
    found = kit.leftovers("another run", tmp_path)
    assert kit.wait_gone(found, within_s=0.01) == found
    worker.communicate(timeout=10)
    assert worker.returncode == -9
    assert kit.wait_gone(found, within_s=0.01) == set()


async def test_waiting_for_a_condition_has_a_bound() -> None:
    with pytest.raises(pytest.fail.Exception, match="did not become true"):
        kit.eventually(lambda: False, within_s=0.01)
    with pytest.raises(pytest.fail.Exception, match="did not become true"):
        await kit.eventually_async(lambda: False, within_s=0.01)


def _start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-I", "-c", WORKER],
        env={"PATH": os.environ["PATH"]} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    return worker
