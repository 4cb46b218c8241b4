"""Tasks are kept and their failures told; loops go on; cleanup ends."""

from __future__ import annotations

import asyncio
import gc
import logging
from functools import partial
from typing import Any

import pytest

from holdfast.runtime import Periodic, shielded, spawn, uncancelled


async def test_a_spawned_task_survives_garbage_collection_and_returns_its_result() -> None:
    gate = asyncio.Event()
    seen: list[str] = []

    async def act() -> None:
        await gate.wait()
        seen.append("done")

    spawn(act(), name="kept")
    await asyncio.sleep(0)
    gc.collect()
    gate.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert seen == ["done"]


async def test_a_task_that_fails_is_logged_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def act() -> None:
        raise ValueError("broken")

    task = spawn(act(), name="fragile")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert "fragile" in caplog.text
    assert "broken" in caplog.text


async def test_a_cancelled_task_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.Event().wait(), name="quiet")
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert caplog.text == ""


async def test_an_error_never_ends_a_periodic_and_stop_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0
    third = asyncio.Event()

    async def act() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            third.set()
        raise RuntimeError("again")

    periodic = Periodic("sweep", act, interval_s=0)
    periodic.start()
    periodic.start()
    await asyncio.wait_for(third.wait(), 60)
    await periodic.stop()
    await periodic.stop()
    after = calls
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls == after
    assert [r.levelno for r in caplog.records] == [logging.ERROR] * after


async def test_a_stopped_periodic_can_be_started_again() -> None:
    ran = asyncio.Event()

    async def act() -> None:
        ran.set()

    periodic = Periodic("again", act, interval_s=0)
    periodic.start()
    await periodic.stop()
    assert not ran.is_set()
    periodic.start()
    await asyncio.wait_for(ran.wait(), 60)
    await periodic.stop()


@pytest.mark.parametrize("way", [partial(shielded, within_s=60), partial(uncancelled, name="cleanup")])
async def test_shielded_cleanup_ends_before_a_repeated_cancellation_is_raised(way: Any) -> None:
    gate = asyncio.Event()
    ended = False

    async def cleanup() -> None:
        nonlocal ended
        await gate.wait()
        ended = True

    async def act() -> None:
        await way(cleanup())

    task = spawn(act(), name="act")
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


@pytest.mark.parametrize("way", [partial(shielded, within_s=60), partial(uncancelled, name="answer")])
async def test_shielded_returns_the_result_and_raises_the_error(way: Any) -> None:
    async def answer(fail: bool) -> int:
        if fail:
            raise KeyError("no")
        return 42

    assert await way(answer(False)) == 42
    with pytest.raises(KeyError):
        await way(answer(True))


async def test_shielded_cleanup_is_bounded() -> None:
    with pytest.raises(TimeoutError, match="did not end within"):
        await shielded(asyncio.Event().wait(), within_s=0.001)


async def test_what_nobody_waits_for_any_more_fails_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise KeyError("no")

    task = spawn(uncancelled(fail(), name="write it"), name="act")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "write it failed" in caplog.text
