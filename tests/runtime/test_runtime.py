"""Tasks are kept and their failures told; loops go on; cleanup ends."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from holdfast.runtime import Periodic, shielded, spawn


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


async def test_shielded_cleanup_ends_before_a_repeated_cancellation_is_raised() -> None:
    gate = asyncio.Event()
    ended = False

    async def cleanup() -> None:
        nonlocal ended
        await gate.wait()
        ended = True

    async def act() -> None:
        await shielded(cleanup(), within_s=60)

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


async def test_shielded_returns_the_result_and_raises_the_error() -> None:
    async def answer(fail: bool) -> int:
        if fail:
            raise KeyError("no")
        return 42

    assert await shielded(answer(False), within_s=60) == 42
    with pytest.raises(KeyError):
        await shielded(answer(True), within_s=60)


async def test_shielded_cleanup_is_bounded() -> None:
    with pytest.raises(TimeoutError, match="did not end within"):
        await shielded(asyncio.Event().wait(), within_s=0.001)
