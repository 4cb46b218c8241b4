"""How room is made where others write at the same time: other tasks, other processes, and damage."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from holdfast import Capacity, Refused, SessionManager
from holdfast.model.errors import Corrupt
from holdfast.model.session import Record
from holdfast.sessions.room import EVICTED_MAX, RELOAD_S
from holdfast.stores import MemoryStore
from holdfast.stores.contract import Page, Query, StoreInfo
from holdfast.testing import ManualClock
from tests import kit

Sessions = SessionManager[dict[str, Any]]


class Elsewhere:
    """A store that has to be waited for, like one on disk: `shared`, or for this process alone.

    A scan that is `held` has read what there was and returns it late. What is in `damaged` cannot be read. Others
    write what is in `contended` each time it was read.
    """

    def __init__(self, *, shared: bool = True) -> None:
        self.inner = MemoryStore()
        self.shared = shared
        self.scans = self.sweeps = self.most = 0
        self.damaged: set[str] = set()
        self.contended: set[str] = set()
        self.held = asyncio.Event()
        self.held.set()

    async def get(self, session_id: str) -> Record | None:
        await asyncio.sleep(0)
        if session_id in self.damaged:
            raise Corrupt("damaged")
        record = await self.inner.get(session_id)
        if record is not None and session_id in self.contended:
            written = msgspec.structs.replace(record, version=record.version + 1)
            await self.inner.put(written, expect=record.version)
        return record

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        await asyncio.sleep(0)
        await self.inner.put(record, expect=expect)
        self.most = max(self.most, len(self.inner._kept))
        await asyncio.sleep(0)

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        await asyncio.sleep(0)
        deleted = await self.inner.delete(session_id, expect=expect)
        self.damaged.discard(session_id)
        await asyncio.sleep(0)
        return deleted

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        await self.inner.touch(session_id, at)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        self.scans += cursor is None
        page = await self.inner.scan(query, cursor=cursor, limit=limit)
        await self.held.wait()
        return page

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        self.sweeps += 1
        await asyncio.sleep(0)
        return await self.inner.expire(now, limit=limit)

    async def info(self) -> StoreInfo:
        return StoreInfo(kind="elsewhere", durability="none", schema=0, health="ok", shared=self.shared)

    async def count(self, now: float) -> dict[str, int]:
        return await self.inner.count(now)


def managed(store: Elsewhere | MemoryStore, clock: ManualClock, **capacity: Any) -> Sessions:
    return Sessions(store, capacity=Capacity(**capacity), clock=clock, default_timeout=None)


async def ids(sessions: Sessions) -> list[str]:
    return sorted([session.id async for session in sessions.scan()])


async def test_what_happens_while_sessions_are_counted_anew_stays_so(clock: ManualClock) -> None:
    """R-MGR-8: what was used keeps its place, what came is there, what went, here or elsewhere, is not."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=6, when_full="evict")
    for name in ("used", "left", "went", "elsewhere"):
        await sessions.create(id=name)
        clock.advance(1)
    await store.inner.delete("elsewhere")
    clock.advance(RELOAD_S)
    store.held.clear()
    counting = asyncio.ensure_future(sessions.create(id="counted"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert store.scans == 2
    await sessions.touch("used")
    await sessions.delete("went")
    await sessions.create(id="came")
    store.held.set()
    await counting
    room = sessions._room
    assert room is not None and list(room._order.all) == ["left", "used", "came", "counted"]
    for name in ("b", "c", "d", "e"):
        await sessions.create(id=name)
    assert await ids(sessions) == ["b", "c", "came", "counted", "d", "e"]


async def test_nobody_waits_while_sessions_are_counted_anew_but_all_at_the_first_time(clock: ManualClock) -> None:
    """R-MGR-8."""
    store = Elsewhere()
    await Sessions(store, clock=clock).create(id="before")
    store.held.clear()
    sessions = managed(store, clock, sessions=2)
    creating = [asyncio.ensure_future(sessions.create()) for _ in range(3)]
    for _ in range(9):
        await asyncio.sleep(0)
    assert not any(each.done() for each in creating)
    store.held.set()
    outcomes = await asyncio.gather(*creating, return_exceptions=True)
    assert [type(each).__name__ for each in outcomes] == ["Session", "Refused", "Refused"]


@pytest.mark.parametrize(("shared", "scans"), [(True, 4), (False, 1)])
async def test_only_what_others_may_write_is_counted_anew(clock: ManualClock, shared: bool, scans: int) -> None:
    """R-MGR-8."""
    store = Elsewhere(shared=shared)
    sessions = managed(store, clock, sessions=2, when_full="evict")
    for _ in range(4):
        await sessions.create()
        await sessions.create()
        clock.advance(RELOAD_S)
    assert store.scans == scans
    assert len(await ids(sessions)) == 2


async def test_room_is_made_while_sessions_are_counted_anew(clock: ManualClock) -> None:
    """R-MGR-8: of those that are counted already."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=100, when_full="evict")
    await sessions.delete((await sessions.create()).id)
    others = Sessions(store, clock=clock)
    for _ in range(5000):
        await others.create()
    clock.advance(RELOAD_S)
    counting = asyncio.ensure_future(sessions.create())
    await asyncio.sleep(0)
    for _ in range(100):
        await sessions.create()
    await counting
    room = sessions._room
    assert room is not None and sorted(room._order.all) == await ids(sessions)


async def test_a_count_that_is_cut_short_is_made_up_for(clock: ManualClock) -> None:
    """R-MGR-8."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=2000)
    for at in range(1999):
        await sessions.create(id=f"s{at}")
    clock.advance(RELOAD_S)
    for turns in range(12):
        creating = asyncio.ensure_future(sessions.create(id="s"))
        for _ in range(turns):
            await asyncio.sleep(0)
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
        await sessions.delete("s")
    await sessions.create()
    with pytest.raises(Refused):
        await sessions.create()


async def test_one_create_makes_room_when_far_fewer_may_be_than_before(clock: ManualClock) -> None:
    """R-MGR-8."""
    store = Elsewhere(shared=False)
    before = Sessions(store, clock=clock)
    for at in range(1000):
        await before.create(id=f"s{at:03}")
        clock.advance(0.01)
    sessions = managed(store, clock, sessions=100, when_full="evict")
    await sessions.create(id="t")
    assert await ids(sessions) == [f"s{at}" for at in range(901, 1000)] + ["t"]
    assert (await sessions.metrics()).evicted == 901


@pytest.mark.parametrize("bound", [{"sessions": 100}, {"per_owner": 100}])
async def test_each_create_takes_its_share_when_there_are_very_many_too_many(
    clock: ManualClock, bound: dict[str, int]
) -> None:
    """R-MGR-8: none of them takes for ever, and each succeeds."""
    store = MemoryStore()
    before = Sessions(store, clock=clock)
    for _ in range(2500):
        await before.create(owner="ada")
    sessions = managed(store, clock, when_full="evict", **bound)
    left = []
    for _ in range(4):
        await sessions.create(owner="ada")
        left.append(len(await sessions.ids()))
    assert left == [2501 - EVICTED_MAX, 2502 - 2 * EVICTED_MAX, 100, 100]


async def test_what_is_damaged_makes_no_room_and_takes_none(clock: ManualClock, caplog: Any) -> None:
    """R-MGR-8: others make room instead."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=3, when_full="evict")
    for name in ("a", "b", "c"):
        await sessions.create(id=name)
    store.damaged = {"a"}
    with caplog.at_level(logging.WARNING):
        for name in ("d", "e", "f", "g"):
            await sessions.create(id=name)
    assert await ids(sessions) == ["a", "e", "f", "g"], "a is not deleted: a person may repair it"
    assert [entry.message for entry in caplog.records] == [
        "session a… is damaged; it cannot make room, and counts no longer"
    ]


async def test_what_is_damaged_and_deleted_takes_no_room(clock: ManualClock) -> None:
    """R-MGR-8."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=1, per_owner=1)
    await sessions.create(id="a", owner="ada")
    store.damaged = {"a"}
    assert await sessions.delete("a")
    await sessions.create(id="b", owner="ada")


async def test_what_others_write_at_this_moment_is_not_evicted(clock: ManualClock) -> None:
    """R-MGR-8: the next one goes, at once."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=3, per_owner=3, when_full="evict")
    for name in ("a", "b", "c"):
        await sessions.create(id=name, owner="ada")
    store.contended = {"a"}
    await sessions.create(id="d", owner="ada")
    assert await ids(sessions) == ["a", "c", "d"]
    assert (await store.inner.get("a")).version == 2  # type: ignore[union-attr]  # it is there


async def test_when_all_are_written_all_the_time_a_create_gives_up(clock: ManualClock) -> None:
    """R-MGR-8."""
    store = Elsewhere()
    sessions = managed(store, clock, sessions=2, when_full="evict")
    for name in ("a", "b"):
        await sessions.create(id=name)
    store.contended = {"a", "b"}
    with pytest.raises(Refused):
        await sessions.create()
    assert await ids(sessions) == ["a", "b"]


async def test_a_use_that_its_owner_tells_of_counts(clock: ManualClock) -> None:
    """R-MGR-8: as does a request in flight."""
    async with Sessions.open("memory://", capacity=Capacity(sessions=3, when_full="evict"), clock=clock) as sessions:
        for name in ("a", "b", "c"):
            await sessions.create(id=name)
        await sessions.record_use("a", clock.now(), timeout=None)
        await sessions.requests.register("b", 1)
        clock.advance(1200)
        await sessions.requests.use_sessions(sessions._use)
        await sessions.create(id="d")
        assert await ids(sessions) == ["a", "b", "d"]


@pytest.mark.parametrize("when_full", ["refuse", "evict"])
@pytest.mark.parametrize("bound", [{"sessions": 7}, {"per_owner": 7}])
async def test_a_hundred_creators_at_once_are_never_more_than_may_be(
    clock: ManualClock, when_full: str, bound: dict[str, int]
) -> None:
    """R-MGR-8: and no more go than come."""
    store = Elsewhere(shared=False)
    sessions = managed(store, clock, when_full=when_full, **bound)
    for _ in range(6):
        await sessions.create(owner="ada")
    await sessions.create(owner="ada", timeout=5)
    clock.advance(5 + sessions._late_s)
    store.sweeps = 0
    creating = (sessions.create(owner="ada") for _ in range(100))
    outcomes = await asyncio.gather(*creating, return_exceptions=True)
    metrics = await sessions.metrics()
    assert store.most == metrics.total == 7
    created = sum(not isinstance(each, BaseException) for each in outcomes)
    assert created == (100 if when_full == "evict" else 1)
    assert (metrics.expired, metrics.evicted) == (1, created - 1)
    assert store.sweeps <= 4, "one sweep does for all who wait for it"


async def test_nothing_is_kept_of_owners_whose_sessions_are_gone(clock: ManualClock) -> None:
    """R-PER-3."""
    sessions = managed(MemoryStore(), clock, sessions=50, per_owner=3, when_full="evict")
    for at in range(200):
        session = await sessions.create(owner=f"owner {at // 4}")
        if at % 5 == 0:
            await sessions.terminate(session.id)
        if at % 3 == 0:
            await sessions.delete(session.id)
    for session_id in await sessions.ids():
        await sessions.touch(session_id)
        await sessions.delete(session_id)
    room = sessions._room
    assert room is not None
    assert not (room._order.all or room._order._of or room._coming or room._coming_in_all)


async def test_what_was_ended_before_takes_no_room(clock: ManualClock) -> None:
    """R-MGR-8."""
    store = MemoryStore()
    before = Sessions(store, clock=clock)
    for name in ("a", "b"):
        await before.create(id=name)
    await before.terminate("a")
    sessions = managed(store, clock, sessions=2)
    await sessions.create(id="c")
    await sessions.terminate("b")
    await sessions.create(id="d")
    with pytest.raises(Refused):
        await sessions.create()


async def test_taking_all_that_is_expired_and_counting_all_that_is_there_let_the_loop_go_on(clock: ManualClock) -> None:
    """R-PER-5."""
    for watch in kit.LoopWatch.rounds():
        store = MemoryStore()
        before = Sessions(store, clock=clock)
        for at in range(30_000):
            await before.create(timeout=5 if at % 2 else None, owner=f"owner {at % 1000}")
        clock.advance(5)
        sessions = managed(store, clock, sessions=20_000, per_owner=100)
        with watch:
            assert len(await before.expire_due(10**6)) == 15_000
            await sessions.create()
