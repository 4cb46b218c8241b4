"""The server dies, the keeper dies, and one keeper follows another."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.model import Unavailable
from tests.kit import eventually, eventually_async

from .habits import alive, opened, parent_of, spawned

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@contextmanager
def hosting(data: Path, habit: str) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Run a server in a process of its own; give it, the pid of its worker, and what that said first."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "tests.keeper.programs.host", str(data), habit]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            pid, said = server.stdout.readline().split(" ", 1)
            yield server, int(pid), said
        finally:
            server.kill()


@pytest.mark.parametrize("habit", ["surroundings", "stubborn", "family", "daemon", "hidden_daemon"])
def test_a_server_killed_leaves_no_worker_and_nothing_a_worker_started(tmp_path: Path, habit: str) -> None:
    """R-ISO-1"""
    with hosting(tmp_path, habit) as (server, worker, said):
        keeper = parent_of(worker)
        left = {worker, keeper} | ({int(said)} if said.strip().isdigit() else set())
        assert all(map(alive, left))
        server.kill()
        eventually(lambda: not any(map(alive, left)))
    assert not list(tmp_path.glob("keeper.log"))


def test_the_signals_of_the_terminal_are_not_for_the_keeper(tmp_path: Path) -> None:
    with hosting(tmp_path, "surroundings") as (_, worker, _said):
        keeper = parent_of(worker)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(keeper, number)
        ignored = int(Path(f"/proc/{keeper}/status").read_text().partition("SigIgn:")[2].split()[0], 16)
        assert alive(keeper)
        assert alive(worker)
        assert all(ignored & 1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        assert os.getsid(keeper) == keeper


async def test_the_next_server_starts_nothing_before_all_that_the_last_one_left_is_gone(tmp_path: Path) -> None:
    with hosting(tmp_path, "stubborn") as (server, worker, _):
        keeper = parent_of(worker)
        server.kill()
        async with opened(tmp_path, "echo") as workers:
            label = str(tmp_path / "one")
            await workers.clear(label)
            assert not alive(worker)
            again, _ = await spawned(workers, tmp_path / "one")
            assert parent_of(again.pid) == keeper
    assert not alive(keeper)


async def test_a_worker_wanted_while_the_lock_is_held_starts_when_it_is_free(tmp_path: Path) -> None:
    with (tmp_path / "keeper.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with opened(tmp_path, "echo") as workers:
            spawning = asyncio.ensure_future(spawned(workers, tmp_path / "one"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(spawning), 0.2)
            fcntl.flock(held, fcntl.LOCK_UN)
            worker, heard = await spawning
            worker.send(b"1")
            await heard.frames_reach(1)


async def test_a_lock_that_is_never_free_is_said_in_a_sentence(tmp_path: Path) -> None:
    with (tmp_path / "keeper.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with opened(tmp_path, "echo", start_s_max=120.0) as workers:
            with pytest.raises(Unavailable, match="another keeper, or what it started, still runs"):
                await spawned(workers, tmp_path / "one")


@pytest.mark.parametrize("habit", ["echo", "daemon"])
async def test_a_keeper_killed_takes_its_workers_along_and_another_follows(tmp_path: Path, habit: str) -> None:
    """R-KEE-3: what was forked twice outlives the keeper, and is ended before its successor starts anything."""
    async with opened(tmp_path, habit) as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        worker.send(b"1")
        await heard.frames_reach(1)
        receipts = asyncio.ensure_future(worker.deliver(b"2"))
        keeper = parent_of(worker.pid)
        os.kill(keeper, signal.SIGSTOP)
        await asyncio.sleep(0)
        os.kill(keeper, signal.SIGKILL)
        assert "keeper ended" in (await heard.exit()).why
        with pytest.raises(Unavailable, match="keeper ended"):
            await receipts
        await eventually_async(lambda: not alive(worker.pid))
        again, heard_again = await spawned(workers, tmp_path / "one")
        if habit == "daemon":
            assert not alive(int(heard.frames[0]))
        assert parent_of(again.pid) != keeper
        again.send(b"3")
        await heard_again.frames_reach(1)
        await worker.stop(grace_s=1.0)


async def test_two_directories_have_two_keepers_that_know_nothing_of_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with opened(tmp_path / "a", "echo") as one:
        worker, heard = await spawned(one, tmp_path / "a" / "one")
        async with opened(tmp_path / "b", "daemon") as two:
            await spawned(two, tmp_path / "b" / "one")
        worker.send(b"1")
        await heard.frames_reach(1)
