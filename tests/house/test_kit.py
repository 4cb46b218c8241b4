"""The instruments the other tests trust can fail."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import kit

WORKER = "print('ready', flush=True); input()"


async def test_a_blocked_loop_fails_the_watch(loop_watch: Callable[[float], kit.LoopWatch]) -> None:
    """Blocking is told from idling. R-PER-5"""
    with pytest.raises(pytest.fail.Exception, match="the event loop was blocked"), loop_watch(0.02):
        await asyncio.sleep(0)
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass


async def test_a_loop_that_waits_passes_the_watch(loop_watch: Callable[[float], kit.LoopWatch]) -> None:
    with loop_watch(0.2) as watch:
        beats = 3
        for _ in range(beats):
            await asyncio.wait_for(asyncio.to_thread(_wait_in_a_pipe), 5)
    assert watch.worst_s < 0.2


def _wait_in_a_pipe() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


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
