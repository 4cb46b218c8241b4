"""A lane does what is submitted in order, in batches, within bounds, however busy the loop is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from holdfast import Refused, Unavailable
from holdfast.runtime import spawn
from holdfast.stores.lane import WAITING_BYTES_MAX, WAITING_MAX, Act, Lane


class Recorder:
    """Work that records its batches and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[Act]] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.ended = False

    def work(self, acts: Sequence[Act]) -> None:
        self.begun.set()
        self.go.wait(60)
        self.batches.append(list(acts))

    def end(self) -> None:
        self.ended = True


@asynccontextmanager
async def lane_of(recorder: Recorder) -> AsyncIterator[Lane[Act]]:
    lane: Lane[Act] = Lane("the test's lane", recorder.work, recorder.end)
    try:
        yield lane
    finally:
        recorder.go.set()
        await lane.close()


async def test_what_waits_is_taken_together_and_in_order() -> None:
    """R-PER-4."""
    recorder = Recorder()
    async with lane_of(recorder) as lane:
        recorder.go.clear()
        first = spawn(lane.submit(Act()), name="first")
        await asyncio.to_thread(recorder.begun.wait, 30)
        acts = [Act() for _ in range(300)]
        rest = [spawn(lane.submit(act), name="more") for act in acts]
        await asyncio.sleep(0)
        recorder.go.set()
        await asyncio.gather(first, *rest)
    assert [act for batch in recorder.batches for act in batch][1:] == acts
    assert [len(batch) for batch in recorder.batches] == [1, 256, 44]
    assert recorder.ended


@pytest.mark.parametrize(("count", "size_bytes"), [(WAITING_MAX, 0), (1, WAITING_BYTES_MAX)])
async def test_too_much_waiting_is_refused(count: int, size_bytes: int) -> None:
    """R-STO-2."""
    recorder = Recorder()
    async with lane_of(recorder) as lane:
        recorder.go.clear()
        waiting = spawn(lane.submit(*[Act(size_bytes) for _ in range(count)]), name="waiting")
        await asyncio.sleep(0)
        with pytest.raises(Refused):
            await lane.submit(Act(1))
        recorder.go.set()
        await waiting
        await lane.submit(Act(1))


async def test_an_act_whose_caller_is_gone_before_it_begins_is_not_done() -> None:
    """R-STO-2."""
    recorder = Recorder()
    async with lane_of(recorder) as lane:
        recorder.go.clear()
        first = spawn(lane.submit(Act()), name="first")
        await asyncio.to_thread(recorder.begun.wait, 30)
        given_up = spawn(lane.submit(Act()), name="given up")
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({given_up})
        recorder.go.set()
        await first
        await lane.submit(Act())
    assert [len(batch) for batch in recorder.batches] == [1, 1]


async def test_what_was_submitted_is_done_before_a_lane_ends() -> None:
    """R-MGR-15."""
    recorder = Recorder()
    async with lane_of(recorder) as lane:
        recorder.go.clear()
        acts = [spawn(lane.submit(Act()), name="act") for _ in range(3)]
        await asyncio.sleep(0)
        recorder.go.set()
        await lane.close()
        await asyncio.gather(*acts)
        with pytest.raises(Unavailable):
            await lane.submit(Act())
    assert sum(len(batch) for batch in recorder.batches) == 3


async def test_what_work_raises_reaches_every_caller_and_the_lane_goes_on() -> None:
    """R-STO-2."""

    def work(acts: Sequence[Act]) -> None:
        raise ZeroDivisionError

    lane: Lane[Act] = Lane("the test's lane", work, lambda: None)
    for _ in range(2):
        act = Act()
        await lane.submit(act)
        assert isinstance(act.error, ZeroDivisionError)
    await lane.close()


@pytest.mark.slow
async def test_a_busy_loop_does_not_starve_the_thread() -> None:
    """R-PER-4."""
    recorder = Recorder()
    ends_at = time.thread_time() + 1.0  # of the loop's own time, so that other programs cost nothing

    async def keep_busy() -> None:
        while time.thread_time() < ends_at:
            until = time.thread_time() + 1e-4
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0)

    async with lane_of(recorder) as lane:
        busy = [spawn(keep_busy(), name="busy") for _ in range(16)]
        done = 0
        while time.thread_time() < ends_at:
            await lane.submit(Act())
            done += 1
        await asyncio.gather(*busy)
    # About 300 when the loop stands aside, 5 at most when it does not.
    assert done >= 40


@pytest.mark.slow
async def test_who_waits_for_too_long_is_told_and_what_had_not_begun_is_never_done() -> None:
    """R-STO-2."""
    recorder = Recorder()
    async with lane_of(recorder) as lane:
        recorder.go.clear()
        begun = spawn(lane.submit(Act()), name="begun")
        await asyncio.to_thread(recorder.begun.wait, 30)
        waiting = [spawn(lane.submit(Act(), Act()), name="waiting") for _ in range(3)]
        for late in (begun, *waiting):
            with pytest.raises(Unavailable, match="did not answer within 5 s"):
                await late
        recorder.go.set()
        await lane.submit(Act())
    assert [len(batch) for batch in recorder.batches] == [1, 1]
