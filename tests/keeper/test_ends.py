"""How workers end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from holdfast.model import Unavailable

from .habits import alive, opened, spawned

pytestmark = pytest.mark.slow


async def test_a_stop_closes_stdin_and_that_is_enough_for_a_well_behaved_worker(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        worker.send(b"1")
        await worker.stop(grace_s=120.0)
        assert heard.frames == [b"1"]
        assert (heard.exits[0].code, heard.exits[0].why) == (0, "it was stopped")
        await worker.stop(grace_s=1.0)
        assert len(heard.exits) == 1


async def test_sigterm_comes_before_sigkill(tmp_path: Path) -> None:
    async with opened(tmp_path, "mute") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        await worker.stop(grace_s=0.4)
        assert heard.exits[0].signal == signal.SIGTERM


async def test_a_worker_that_ignores_sigterm_is_killed_at_the_end_of_its_grace(tmp_path: Path) -> None:
    """R-ISO-1"""
    async with opened(tmp_path, "stubborn") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        await worker.stop(grace_s=0.3)
        assert heard.exits[0].signal == signal.SIGKILL
        assert "killed" in heard.exits[0].why


async def test_a_second_stop_with_less_grace_hastens_the_first(tmp_path: Path) -> None:
    async with opened(tmp_path, "stubborn") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        async with asyncio.timeout(60.0):
            await asyncio.gather(worker.stop(grace_s=600.0), worker.stop(grace_s=0.2))


@pytest.mark.parametrize("habit", ["family", "daemon", "hidden_daemon"])
@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_whatever_it_started_is_gone_when_its_exit_is_told(tmp_path: Path, habit: str, how: str) -> None:
    """R-ISO-1, R-KEE-3: forked twice, in a session of its own, deaf to SIGTERM, even with an empty environment."""
    async with opened(tmp_path, habit) as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        left = int(heard.frames[0])
        assert alive(left)
        if how == "killed":
            os.kill(worker.pid, signal.SIGKILL)
        else:
            await worker.stop(grace_s=1.0)
        await heard.exit()
        assert not alive(left)


async def test_the_daemon_of_one_worker_outlives_the_end_of_another(tmp_path: Path) -> None:
    async with opened(tmp_path, "daemon") as workers:
        (one, heard_one), (two, heard_two) = [await spawned(workers, tmp_path / name) for name in ("one", "two")]
        await heard_one.frames_reach(1)
        await heard_two.frames_reach(1)
        await one.stop(grace_s=1.0)
        assert not alive(int(heard_one.frames[0]))
        assert alive(int(heard_two.frames[0]))
        two.send(b'"still here"')
        await heard_two.frames_reach(2)


async def test_a_stray_that_holds_stdout_delays_nothing_for_long(tmp_path: Path) -> None:
    async with opened(tmp_path, "pipe_holder") as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        assert (await heard.exit()).code == 0
        assert heard.frames == [b'"left"']


async def test_a_worker_that_closes_its_stdout_is_ended(tmp_path: Path) -> None:
    async with opened(tmp_path, "mute") as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        assert "closed its stdout" in (await heard.exit()).why
        assert heard.frames == [b'"last words"']


async def test_a_receipt_that_can_no_longer_come_is_an_error(tmp_path: Path) -> None:
    async with opened(tmp_path, "stubborn") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        stopping = asyncio.ensure_future(worker.stop(grace_s=0.2))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="stopped"):
            await worker.deliver(b"1")
        await stopping
        with pytest.raises(Unavailable, match="stopped"):
            await worker.deliver(b"2")
        worker.send(b"3")


async def test_a_crash_tells_its_signal_and_an_exit_its_code_and_last_words(tmp_path: Path) -> None:
    async with opened(tmp_path, "noisy", "1000") as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        how = await heard.exit()
        assert (how.code, how.signal, how.why) == (3, None, "it exited with code 3")
        assert how.stderr.endswith("the last line")
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "two")
        os.kill(worker.pid, signal.SIGSEGV)
        how = await heard.exit()
        assert (how.code, how.signal, how.why) == (None, signal.SIGSEGV, "it was killed by SIGSEGV")


async def test_the_log_of_stderr_is_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, "noisy", str(3 * 2**20)) as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        how = await heard.exit()
    log, older = tmp_path / "one" / "stderr.log", tmp_path / "one" / "stderr.log.1"
    assert log.stat().st_size <= 256 * 1024
    assert 128 * 1024 <= older.stat().st_size <= 256 * 1024
    assert log.read_text().endswith("the last line\n")
    assert len(how.stderr) <= 2048
    assert how.stderr.endswith("the last line")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["stderr.log", "stderr.log.1", "work"]
