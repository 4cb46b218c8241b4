"""Frames between the server and its workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from holdfast.model import Unavailable
from tests.kit import eventually_async

from .habits import opened, spawned

pytestmark = pytest.mark.slow


async def test_what_is_sent_comes_back_and_a_receipt_says_that_the_keeper_has_it(tmp_path: Path) -> None:
    """R-KEE-2"""
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        worker.send(b'{"id":1}')
        await worker.deliver('{"id":"zwei – 2"}'.encode())
        await heard.frames_reach(2)
        assert heard.frames == [b'{"id":1}', '{"id":"zwei – 2"}'.encode()]


async def test_a_thousand_frames_through_eight_workers_stay_in_order_and_with_their_own(tmp_path: Path) -> None:
    """R-KEE-2"""
    async with opened(tmp_path, "echo") as workers:
        pairs = [await spawned(workers, tmp_path / str(number)) for number in range(8)]
        sent = [[b'{"worker":%d,"number":%d}' % (which, number) for number in range(125)] for which in range(8)]
        for number in range(125):
            for which, (worker, _) in enumerate(pairs):
                worker.send(sent[which][number])
        for _, heard in pairs:
            await heard.frames_reach(125)
        assert [heard.frames for _, heard in pairs] == sent


async def test_a_frame_of_ten_mebibytes_passes_both_ways(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        frame = b'"' + os.urandom(5 * 2**20 - 1).hex().encode() + b'"'
        assert len(frame) == 10 * 2**20
        worker.send(frame)
        worker.send(b'"after"')
        await heard.frames_reach(2)
        assert heard.frames == [frame, b'"after"']


async def test_a_message_over_the_bound_ends_the_worker_and_what_it_said_before_is_heard(tmp_path: Path) -> None:
    async with opened(tmp_path, "large", "200001", frame_bytes_max=200_000) as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        assert "over the bound" in (await heard.exit()).why
        assert heard.frames == [b'"small"']


async def test_a_message_of_exactly_the_bound_passes(tmp_path: Path) -> None:
    async with opened(tmp_path, "large", "200000", frame_bytes_max=200_000) as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(2)
        assert len(heard.frames[1]) == 200_000


async def test_blank_lines_are_dropped_and_a_last_line_without_its_end_is_a_frame(tmp_path: Path) -> None:
    async with opened(tmp_path, "unfinished") as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        assert (await heard.exit()).why == "it exited with code 0"
        assert [json.loads(frame) for frame in heard.frames] == ["one", "two"]


async def test_a_flood_arrives_whole_before_the_exit_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    async with opened(tmp_path, "flood") as workers:
        (flooding, flooded), (calm, echoed) = [await spawned(workers, tmp_path / name) for name in ("one", "two")]
        flooding.send(b"50000")
        calm.send(b"0")
        calm.send(b'"echo"')
        await echoed.frames_reach(1)
        await flooding.stop(grace_s=240.0)
        assert [json.loads(frame)["number"] for frame in flooded.frames] == list(range(50_000))
        assert flooded.exits[0].code == 0


def blocked_on_a_pipe(pid: int) -> bool:
    return "pipe_write" in Path(f"/proc/{pid}/wchan").read_text()


async def test_a_server_that_paused_gets_nothing_loses_nothing_and_holds_up_the_worker(tmp_path: Path) -> None:
    async with opened(tmp_path, "flood") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        workers.pause()
        worker.send(b"100000")
        await eventually_async(lambda: blocked_on_a_pipe(worker.pid))
        assert heard.frames == []
        workers.resume()
        await heard.frames_reach(100_000)
        assert [json.loads(frame)["number"] for frame in heard.frames] == list(range(100_000))


async def test_a_worker_that_does_not_read_is_full_and_ready_again_once_it_does(tmp_path: Path) -> None:
    async with opened(tmp_path, "deaf") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        assert not worker.full
        frames = [b'{"number":%d,"padding":"%s"}' % (number, b"x" * 1000) for number in range(2000)]
        for frame in frames:
            worker.send(frame)
        await eventually_async(lambda: worker.full)
        os.kill(worker.pid, signal.SIGUSR1)
        await eventually_async(lambda: not worker.full)
        await heard.frames_reach(1 + len(frames))
        assert heard.frames[1:] == frames


async def test_what_goes_first_overtakes_what_waits_for_a_worker_that_does_not_read(tmp_path: Path) -> None:
    """Pings and answers may set it going again; whoever is told that one was taken may rely on it."""
    async with opened(tmp_path, "deaf") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        frames = [b'{"number":%d,"padding":"%s"}' % (number, b"x" * 1000) for number in range(2000)]
        for frame in frames:
            worker.send(frame)
        await eventually_async(lambda: worker.full)
        worker.send(b'"ping"', first=True)
        await worker.deliver(b'"answer"', first=True)
        os.kill(worker.pid, signal.SIGUSR1)
        await heard.frames_reach(1 + len(frames) + 2)
        echoed = heard.frames[1:]
        at = echoed.index(b'"ping"')
        assert echoed[at + 1] == b'"answer"'
        assert at < 500, "behind what the pipe held, before all else"
        assert echoed[:at] + echoed[at + 2 :] == frames


async def test_a_worker_that_never_reads_is_ended_when_too_much_waits_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path, "deaf") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
        with contextlib.suppress(Unavailable):
            while True:
                await worker.deliver(b'"' + b"x" * 2**20 + b'"')
        assert "did not read its stdin" in (await heard.exit()).why
