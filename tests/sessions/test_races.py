"""What an act finds when somebody else was there between its look and its write."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from holdfast import Draft, NotFound, SessionManager
from holdfast.model import Record
from holdfast.stores import MemoryStore
from holdfast.testing import ManualClock

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


class Between(MemoryStore):
    """Lets somebody else have a turn after a look, and is asked as stores are that must be waited for."""

    get_now = put_now = use_now = find_now = None  # type: ignore[assignment]  # so that it is asked as every other store is

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []

    async def get(self, session_id: str) -> Record | None:
        record = MemoryStore.get_now(self, session_id)
        if self.meanwhile:
            await self.meanwhile.pop()()
        return record

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        MemoryStore.put_now(self, record, expect)


def waiting(clock: ManualClock) -> tuple[Between, Sessions]:
    store = Between()
    sessions: Sessions = SessionManager(store, clock=clock)
    sessions._resident = None
    return store, sessions


async def test_ending_again_is_no_miss(sessions: Sessions) -> None:
    """R-MGR-11."""
    await sessions.create(id="s")
    await sessions.terminate("s", "first")
    assert (await sessions.terminate("s", "second")).reason == "first"
    assert (await sessions.metrics()).misses == 0
    with pytest.raises(NotFound):
        await sessions.terminate("nobody")
    assert (await sessions.metrics()).misses == 1


async def test_of_two_that_end_a_session_both_have_it_ended(clock: ManualClock) -> None:
    """R-MGR-3."""
    store, sessions = waiting(clock)
    await sessions.create(id="s")
    store.meanwhile = [partial(sessions.terminate, "s", "first")]
    ended = await sessions.terminate("s", "second")
    assert (ended.state, ended.reason) == ("terminated", "first")


async def test_what_is_not_ended_is_never_returned_as_ended(clock: ManualClock) -> None:
    """R-MGR-3: not the next session under its id, either."""
    store, sessions = waiting(clock)
    await sessions.create(id="s", timeout=10)
    clock.advance(10)

    async def begin_again() -> None:
        await sessions.cleanup_expired(late_s=0)
        await sessions.create(id="s")

    async def soon() -> None:
        store.meanwhile = [begin_again]

    store.meanwhile = [soon]
    with pytest.raises(NotFound):
        await sessions.terminate("s", "done")
    assert (await sessions.peek("s")).state == "active"


@pytest.mark.parametrize("as_task", [False, True])
async def test_an_update_that_comes_too_late_leaves_nothing_behind(clock: ManualClock, as_task: bool) -> None:
    """R-MGR-4: what the function began is ended, without a warning."""
    sessions: Sessions = SessionManager(MemoryStore(), clock=clock)
    await sessions.create(id="s", timeout=10)
    begun: list[Any] = []

    async def later(draft: Draft[Metadata]) -> Draft[Metadata]:
        return draft

    def fn(draft: Draft[Metadata]) -> Awaitable[Draft[Metadata]]:
        clock.advance(10)
        begun.append(asyncio.create_task(later(draft)) if as_task else later(draft))
        return begun[0]  # type: ignore[no-any-return]  # one of the two

    with pytest.raises(NotFound):
        await sessions.update("s", fn)
    assert len(begun) == 1
    if as_task:
        await asyncio.wait(begun)
        assert begun[0].cancelled()
    else:
        assert inspect.getcoroutinestate(begun[0]) == inspect.CORO_CLOSED
