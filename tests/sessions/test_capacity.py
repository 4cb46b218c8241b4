"""How many sessions there may be, and who goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from holdfast import Capacity, Conflict, Misused, Refused, SessionManager, open_store
from holdfast.sessions.room import RELOAD_S
from holdfast.testing import ManualClock

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]
Opened = Callable[[Capacity], AbstractAsyncContextManager[Sessions]]


@pytest.fixture
def opened(url: str, clock: ManualClock) -> Opened:
    @asynccontextmanager
    async def managed(capacity: Capacity) -> AsyncIterator[Sessions]:
        async with open_store(url) as store:
            yield SessionManager(store, capacity=capacity, clock=clock)

    return managed


async def ids(sessions: Sessions) -> list[str]:
    return sorted(await sessions.ids())


async def test_one_session_too_many_is_refused(opened: Opened) -> None:
    """R-MGR-8."""
    async with opened(Capacity(sessions=2)) as sessions:
        for name in ("a", "b"):
            await sessions.create(id=name)
        with pytest.raises(Refused, match="2 sessions") as refused:
            await sessions.create(id="c")
        assert refused.value.wait_s > 0
        assert await ids(sessions) == ["a", "b"]
        await sessions.delete("a")
        await sessions.create(id="c")
        assert await ids(sessions) == ["b", "c"]


async def test_an_owner_has_a_bound_of_its_own(opened: Opened) -> None:
    """R-MGR-8."""
    async with opened(Capacity(per_owner=1)) as sessions:
        await sessions.create(id="a", owner="ada")
        with pytest.raises(Refused, match="1 sessions of this owner"):
            await sessions.create(owner="ada")
        for name in ("b", "c"):
            await sessions.create(id=name, owner=name)
            await sessions.create()
        assert len(await ids(sessions)) == 5


async def test_who_was_used_least_recently_makes_room(opened: Opened, clock: ManualClock) -> None:
    """R-MGR-8."""
    async with opened(Capacity(sessions=3, when_full="evict")) as sessions:
        for name in ("a", "b", "c"):
            await sessions.create({"n": 0}, id=name)
            clock.advance(1)
        await sessions.get("a")
        await sessions.touch("b")
        await sessions.peek("c")
        await sessions.create(id="d")
        assert await ids(sessions) == ["a", "b", "d"], "a look is no use"
        await sessions.update("a", lambda draft: draft)
        await sessions.create(id="e")
        assert await ids(sessions) == ["a", "d", "e"]


async def test_an_owner_makes_room_among_its_own(opened: Opened) -> None:
    """R-MGR-8."""
    async with opened(Capacity(per_owner=2, when_full="evict")) as sessions:
        for name, owner in (("a", "ada"), ("b", "bob"), ("c", "ada"), ("d", "bob")):
            await sessions.create(id=name, owner=owner)
        await sessions.touch("a")
        await sessions.create(id="e", owner="ada")
        assert await ids(sessions) == ["a", "b", "d", "e"]


async def test_what_is_expired_or_ended_takes_no_room(opened: Opened, clock: ManualClock) -> None:
    """R-MGR-3, R-MGR-8: expired is gone at once, swept or not."""
    async with opened(Capacity(sessions=2)) as sessions:
        await sessions.create(id="a", timeout=5)
        await sessions.create(id="b")
        clock.advance(5 + sessions._late_s)
        await sessions.create(id="c")
        await sessions.terminate("b")
        await sessions.create(id="d")
        assert await ids(sessions) == ["c", "d"]
        with pytest.raises(Refused):
            await sessions.create()


async def test_what_is_expired_goes_before_anybody_who_lives(opened: Opened, clock: ManualClock) -> None:
    """R-MGR-8."""
    async with opened(Capacity(sessions=2, when_full="evict")) as sessions:
        await sessions.create(id="a", timeout=None)
        await sessions.create(id="b", timeout=5)
        clock.advance(5 + sessions._late_s)
        await sessions.create(id="c")
        assert await ids(sessions) == ["a", "c"]


async def test_room_is_not_made_of_what_others_have_just_used(url: str, clock: ManualClock) -> None:
    """R-STO-5: their accesses are written a little later."""
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(open_store(url))
        theirs = await stack.enter_async_context(open_store(url)) if url.startswith("sqlite") else mine
        others = SessionManager[Metadata](theirs, clock=clock)
        sessions = SessionManager[Metadata](mine, capacity=Capacity(sessions=1), clock=clock)
        await others.create(id="a", timeout=1)
        clock.advance(0.9)
        await others.touch("a")
        clock.advance(0.2)
        with pytest.raises(Refused):
            await sessions.create(id="b")
        assert await sessions.cleanup_expired() == 0
        assert await others.peek("a")


async def test_what_was_stored_before_counts_in_the_order_of_its_use(url: str, clock: ManualClock) -> None:
    """R-MGR-8."""
    async with open_store(url) as store:
        before = SessionManager[Metadata](store, clock=clock)
        for name in ("a", "b", "c"):
            await before.create(id=name, owner="ada")
            clock.advance(1)
        await before.touch("a")
        sessions = SessionManager[Metadata](store, capacity=Capacity(sessions=3, when_full="evict"), clock=clock)
        await sessions.create(id="d")
        assert await ids(sessions) == ["a", "c", "d"]


async def test_what_others_do_counts_a_minute_later(url: str, clock: ManualClock) -> None:
    """R-MGR-8."""
    async with open_store(url) as store:
        others = SessionManager[Metadata](store, clock=clock)
        sessions = SessionManager[Metadata](store, capacity=Capacity(sessions=2), clock=clock)
        for name in ("a", "b"):
            await sessions.create(id=name, timeout=None)
        await others.delete("a")
        with pytest.raises(Refused):
            await sessions.create(id="c")
        clock.advance(RELOAD_S)
        await sessions.create(id="c")


@pytest.mark.parametrize("when_full", ["refuse", "evict"])
async def test_those_that_are_created_at_once_are_no_more_than_may_be(opened: Opened, when_full: Any) -> None:
    """R-MGR-8."""
    async with opened(Capacity(sessions=5, per_owner=3, when_full=when_full)) as sessions:
        creating = (sessions.create(owner="ada" if at % 2 else None) for at in range(40))
        outcomes = await asyncio.gather(*creating, return_exceptions=True)
        assert {type(outcome).__name__ for outcome in outcomes} <= {"Session", "Refused"}
        found = await sessions.list()
        assert len(found) == 5
        assert sum(session.owner == "ada" for session in found) <= 3


async def test_a_create_that_fails_gives_its_room_back(opened: Opened) -> None:
    """R-MGR-8."""
    async with opened(Capacity(sessions=2)) as sessions:
        await sessions.create(id="a")
        for _ in range(3):
            with pytest.raises(Conflict):
                await sessions.create(id="a")
        await sessions.create(id="b")


async def test_sessions_that_are_never_written_take_room_too(opened: Opened) -> None:
    """R-MGR-1, R-MGR-8."""
    async with opened(Capacity(sessions=2)) as sessions:
        await sessions.create(id="a", durable=False)
        await sessions.create(id="b")
        with pytest.raises(Refused):
            await sessions.create(durable=False)


@pytest.mark.parametrize("bad", [{"sessions": 0}, {"per_owner": -1}, {"sessions": 1.5}, {"when_full": "panic"}])
def test_a_capacity_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(Misused, match="Capacity"):
        Capacity(**bad)
