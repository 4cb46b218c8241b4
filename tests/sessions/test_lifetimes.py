"""A manager that is entered deletes what expires by itself, counts what it does, and ends in time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast import Misused, NotFound, SessionExpired, SessionManager, open_store
from holdfast.sessions.acts import SHARED_LATE_S
from holdfast.stores import MemoryStore, Store
from holdfast.testing import ManualClock
from tests.kit import LoopWatch, eventually_async

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


async def test_what_nobody_asks_for_again_expires_all_the_same(url: str, clock: ManualClock) -> None:
    """R-MGR-3, R-MGR-7: once each, and in a store that others use, only when their accesses must have been written."""
    told: list[str] = []
    async with open_store(url) as store, SessionManager[Metadata](store, clock=clock) as sessions:
        sessions.subscribe(lambda event: told.append(event.session.id), SessionExpired)
        for at in range(20):
            await sessions.create(id=f"s{at}", timeout=5 if at % 2 else None)
        clock.advance(5)
        if url.startswith("sqlite"):
            await sessions._chores()
            assert told == []
        if url != "memory://":
            clock.advance(SHARED_LATE_S)
        await eventually_async(lambda: sorted(told) == sorted(f"s{at}" for at in range(1, 20, 2)))
        assert len(await sessions.ids()) == 10
        assert (await sessions.metrics()).expired == 10


async def test_an_access_shortly_before_the_end_is_written_by_then(url: str, clock: ManualClock) -> None:
    """R-STO-5: whoever else uses the store sweeps a little after the deadline that is written, however long it was."""
    told: list[tuple[str, float]] = []

    class Noting(MemoryStore):
        """Notes how long each access may wait."""

        get_now = put_now = use_now = find_now = None  # type: ignore[assignment]  # so that it is asked as every other store is

        async def get(self, session_id: str) -> Any:
            return MemoryStore.get_now(self, session_id)

        async def put(self, record: Any, *, expect: int, durable: bool = True) -> None:
            MemoryStore.put_now(self, record, expect)

        async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
            told.append((session_id, within_s))
            await super().touch(session_id, at, within_s=within_s)

    sessions: Sessions = SessionManager(Noting(), clock=clock)
    sessions._resident = None
    await sessions.create(id="s", timeout=3600)
    await sessions.create(id="t", timeout=200)
    clock.advance(100)
    await sessions.touch("s")
    await sessions.get("t")
    clock.advance(199)
    await sessions.touch("t")
    assert told == [("s", 3.0), ("t", 2.0), ("t", 1.0)]


async def test_metrics_count_what_was_done(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-11."""
    for at in range(4):
        await sessions.create({"n": at}, id=f"s{at}", timeout=5)
    await sessions.get("s0")
    await sessions.touch("s1")
    await sessions.update("s2", lambda draft: draft)
    for act in (sessions.get, sessions.touch, sessions.delete):
        if act == sessions.delete:
            assert not await sessions.delete("nobody")
        else:
            with pytest.raises(NotFound):
                await act("nobody")
    await sessions.delete("s3")
    await sessions.terminate("s2")
    found = await sessions.metrics()
    assert (found.total, found.by_state) == (3, {"active": 2, "terminated": 1})
    assert (found.created, found.updated, found.deleted, found.expired, found.evicted) == (4, 2, 1, 0, 0)
    assert (found.hits, found.misses, found.hit_rate) == (4, 2, 4 / 6)
    assert (found.eviction_rate, found.events_missed) == (0.0, 0)
    assert {name for name, latency in found.latency.items() if latency.samples} == {
        "create", "get", "touch", "update", "delete",
    }  # fmt: skip
    slowest = found.latency["create"]
    assert 0 < slowest.p50_s <= slowest.p95_s <= slowest.p99_s < 60
    clock.advance(5)
    await sessions.cleanup_expired(late_s=0)
    assert (await sessions.metrics()).expired == 3


async def test_a_session_with_a_request_in_flight_is_in_use(url: str, clock: ManualClock) -> None:
    """R-MGR-13, R-STO-5: for as long as that is, but no longer than `max_age`."""
    async with open_store(url) as store:
        sessions: Sessions = SessionManager(store, clock=clock)
        for name in ("calling", "called", "aged"):
            await sessions.create(id=name, timeout=10, max_age=35 if name == "aged" else None)
            await sessions.requests.register(name, 1)
        await sessions.requests.register("called", 2)
        await sessions.requests.complete("called", 1)
        for at in range(8):
            if at == 1:
                await sessions.requests.complete("called", 2)
            await sessions._chores()
            clock.advance(5)
        assert await sessions.ids() == ["calling"]
        assert await sessions.requests.pending("calling") == [1]


async def test_one_act_in_64_is_timed(sessions: Sessions) -> None:
    """R-MGR-11."""
    await sessions.create(id="s")
    for _ in range(129):
        await sessions.touch("s")
    assert (await sessions.metrics()).latency["touch"].samples == 3


async def test_a_manager_says_what_its_store_is(sessions: Sessions, url: str) -> None:
    """R-MGR-14."""
    info = await sessions.store_info()
    kind = url.partition(":")[0]
    expected = (kind, "none" if kind == "memory" else "full", kind == "sqlite", "ok")
    assert (info.kind, info.durability, info.shared, info.health) == expected


async def test_a_store_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """R-MGR-14."""
    async with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
        sessions: Sessions = SessionManager(store)
    assert "closed" in (await sessions.store_info()).health


async def test_a_store_need_not_say_what_it_is(clock: ManualClock) -> None:
    """R-STO-1: then it is taken for one that others use."""

    class Six:
        """Six methods and no more."""

        def __init__(self, inner: Store) -> None:
            for name in ("get", "put", "delete", "touch", "scan", "expire"):
                setattr(self, name, getattr(inner, name))

    async with SessionManager[Metadata](Six(MemoryStore()), clock=clock) as sessions:  # type: ignore[arg-type]  # set late
        assert sessions._late_s == SHARED_LATE_S
        for refused in (sessions.metrics, sessions.store_info):
            with pytest.raises(Misused, match="Described"):
                await refused()


async def test_large_numbers_leave_others_their_turn() -> None:
    """R-PER-5: no list, sweep or scan holds the loop."""
    for watch in LoopWatch.rounds():
        clock = ManualClock()
        sessions: Sessions = SessionManager(MemoryStore(), clock=clock)
        for at in range(60_000):
            await sessions.create(timeout=5 if at % 3 else None)
        with watch:
            assert len(await sessions.ids()) == 60_000
            clock.advance(5)
            assert len(await sessions.ids()) == 20_000
            assert (await sessions.metrics()).total == 20_000
            assert await sessions.cleanup_expired(late_s=0) == 40_000
            assert sum([1 async for _ in sessions.scan()]) == 20_000


async def test_ids_are_never_the_same() -> None:
    """R-MGR-1: a million of them, from forks too (tests/model)."""
    sessions: Sessions = SessionManager(MemoryStore())
    made = {(await sessions.create()).id for _ in range(20_000)}
    assert len(made) == 20_000
    assert {len(each) for each in made} == {32}


@pytest.mark.parametrize("session_id", [None, 7, b"s", ["s"], "\ud800", "s\0", "x" * 300])
async def test_what_is_no_id_is_not_there(sessions: Sessions, session_id: Any) -> None:
    """R-MGR-1."""
    for act in (sessions.get, sessions.peek, sessions.touch):
        with pytest.raises(NotFound):
            await act(session_id)
    for writing in (
        sessions.update(session_id, lambda draft: draft),
        sessions.set_timeout(session_id, 1),
        sessions.terminate(session_id),
        sessions.tag(session_id, "t"),
    ):
        with pytest.raises(NotFound):
            await writing
    assert await sessions.delete(session_id) is False


async def test_two_managers_that_sweep_tell_of_each_session_once(url: str, clock: ManualClock) -> None:
    """R-MGR-7: of all who sweep, one tells."""
    told: list[str] = []
    async with open_store(url) as store:
        managers = [SessionManager[Metadata](store, clock=clock) for _ in range(3)]
        for each in managers:
            each.subscribe(lambda event: told.append(event.session.id), SessionExpired)
        for at in range(300):
            await managers[0].create(id=f"s{at}", timeout=1)
        clock.advance(1)
        assert sum(await asyncio.gather(*(each.cleanup_expired(late_s=0) for each in managers))) == 300
        await asyncio.gather(*(each.close() for each in managers))
    assert sorted(told) == sorted(f"s{at}" for at in range(300))
