"""Subscribers that cancel, close, or are late, and what becomes of the events that wait for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import EventsMissed, Misused, SessionEvent, SessionManager, Subscription
from holdfast.stores import MemoryStore
from tests.kit import eventually_async

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]
Event = SessionEvent[Metadata]


@pytest.fixture
def sessions() -> Sessions:
    return SessionManager(MemoryStore())


async def create(sessions: Sessions, *names: str) -> None:
    for name in names:
        await sessions.create(id=name)


async def test_a_handler_that_raises_cancelled_error_gets_the_next_event(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-7: as from a task of its own that was cancelled."""
    told: list[str] = []

    async def handle(event: Event) -> None:
        told.append(event.session.id)
        raise asyncio.CancelledError

    subscription = sessions.subscribe(handle)
    await create(sessions, "a", "b", "c")
    await subscription.close()
    assert told == ["a", "b", "c"]
    assert caplog.text.count("raised CancelledError") == 3


@pytest.mark.parametrize("waits", [True, False])
async def test_a_handler_that_cancels_its_task_gets_the_next_event(sessions: Sessions, waits: bool) -> None:
    """R-MGR-7: also when it is close that waits for it."""
    told: list[str] = []

    def cancel(event: Event) -> Any:
        told.append(event.session.id)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return asyncio.sleep(0) if waits else None

    subscription = sessions.subscribe(cancel)
    await create(sessions, "a", "b", "c")
    await subscription.close(within_s=30)
    assert told == ["a", "b", "c"]


async def test_a_manager_that_its_handler_closes_does_not_wait_for_that(sessions: Sessions) -> None:
    """R-MGR-15: nor does one whose handler lets a task of its own do it; what waits is told all the same."""
    told: list[str] = []
    closed: list[str] = []
    loop = asyncio.get_running_loop()

    async def close(event: Event) -> None:
        told.append(event.session.id)
        if event.session.id == "a":
            began = loop.time()
            await sessions.close(within_s=300)
            await asyncio.create_task(subscription.close(within_s=300))
            assert loop.time() - began < 100
            closed.append(event.session.id)

    others: list[str] = []
    sessions.subscribe(lambda event: others.append(event.session.id))
    subscription = sessions.subscribe(close)
    await create(sessions, "a", "b")
    await eventually_async(lambda: told == ["a", "b"])
    assert (closed, others) == (["a"], ["a", "b"])


async def test_a_handler_that_is_late_at_close_is_cancelled(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-15: and is told nothing more."""
    told: list[str] = []
    ended: list[str] = []

    async def hang(event: Event) -> None:
        told.append(event.session.id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(event.session.id)  # it does not pass it on, which helps it nothing

    subscription = sessions.subscribe(hang)
    await create(sessions, "a", "b", "c")
    await asyncio.sleep(0)
    await subscription.close(within_s=0.01)
    await eventually_async(lambda: ended == ["a"])
    await asyncio.sleep(0)
    assert told == ["a"]
    assert "did not take its last 3 events in 0.01 s" in caplog.text


async def test_a_gap_is_told_before_the_event_that_follows_it(sessions: Sessions) -> None:
    """R-MGR-7: when there is room again before all that waits was told."""
    told: list[Any] = []
    go_on = asyncio.Semaphore(0)

    async def handle(event: Any) -> None:
        await go_on.acquire()
        told.append(event.count if isinstance(event, EventsMissed) else event.session.id)

    subscription = sessions.subscribe(handle, waiting_max=2)
    await create(sessions, "a")
    await asyncio.sleep(0)  # it is in the handler's hands
    await create(sessions, "b", "c", "missed", "missed too")
    go_on.release()
    await eventually_async(lambda: told == ["a"])
    await asyncio.sleep(0)
    await create(sessions, "d", "missed three")
    for _ in range(5):
        go_on.release()
    await subscription.close()
    assert told == ["a", "b", "c", 2, "d", 1]
    assert subscription.missed == 3


@pytest.mark.parametrize("within_s", [float("nan"), -1, "1", None, True])
async def test_patience_is_a_number_of_seconds(sessions: Sessions, within_s: Any) -> None:
    subscription: Subscription = sessions.subscribe(print)
    for close in (subscription.close, sessions.close):
        with pytest.raises(Misused, match="within_s"):
            await close(within_s=within_s)
    await subscription.close(within_s=float("inf"))
