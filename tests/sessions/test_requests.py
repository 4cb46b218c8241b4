"""Requests in flight are known until they are completed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    Capacity,
    Conflict,
    Draft,
    HoldfastError,
    Misused,
    Moved,
    NotFound,
    Refused,
    SessionManager,
    Unavailable,
)
from holdfast.model import Record
from holdfast.sessions import Retention
from holdfast.sessions.requests import PENDING_MAX
from holdfast.stores import MemoryStore
from holdfast.stores.contract import Batch, Entry, JournalBounds, Kind, append_to
from holdfast.testing import ManualClock
from tests.kit import LoopWatch, eventually_async

Sessions = SessionManager[dict[str, Any]]


async def test_a_request_is_pending_until_it_is_completed(sessions: Sessions) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    for request_id in (1, "1", -5, "é"):
        await sessions.requests.register(session.id, request_id)
    await sessions.requests.complete(session.id, 1, b"answer")
    assert await sessions.requests.pending(session.id) == ["1", -5, "é"]


async def test_clients_cannot_collide(sessions: Sessions) -> None:
    """R-MGR-13."""
    one, other = await sessions.create(), await sessions.create()
    await sessions.requests.register(one.id, 1)
    await sessions.requests.register(other.id, 1)
    await sessions.requests.complete(one.id, 1)
    assert await sessions.requests.pending(one.id) == []
    assert await sessions.requests.pending(other.id) == [1]


async def test_of_the_same_request_twice_one_is_registered(sessions: Sessions) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    twice = [sessions.requests.register(session.id, 1) for _ in range(2)]
    outcomes = await asyncio.gather(*twice, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [Conflict]
    await sessions.requests.complete(session.id, 1)
    await sessions.requests.register(session.id, 1)
    assert await sessions.requests.pending(session.id) == [1]


async def test_what_is_not_pending_cannot_be_completed(sessions: Sessions) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    await sessions.requests.register(session.id, "1")
    with pytest.raises(NotFound):
        await sessions.requests.complete(session.id, 1)


async def test_a_session_that_is_gone_has_no_requests(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-13, R-MGR-3."""
    session = await sessions.create(timeout=10)
    await sessions.requests.register(session.id, 1)
    clock.advance(10)
    with pytest.raises(NotFound):
        await sessions.requests.register(session.id, 2)
    with pytest.raises(NotFound):
        await sessions.requests.register("nobody", 1)
    assert await sessions.requests.pending("nobody") == []


@pytest.mark.parametrize("request_id", [True, 1.0, None, 2**53, -(2**53), "\ud800", "x" * 2000], ids=repr)
async def test_what_is_no_request_id_is_refused(sessions: Sessions, request_id: Any) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    with pytest.raises(Misused):
        await sessions.requests.register(session.id, request_id)


async def test_requests_survive_the_manager_that_took_them(tmp_path: Path) -> None:
    """R-MGR-13."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    async with Sessions.open(url) as sessions:
        await sessions.create(id="s")
        await sessions.requests.register("s", 7)
    async with Sessions.open(url) as sessions:
        assert await sessions.requests.pending("s") == [7]


async def test_a_session_has_so_many_requests_and_no_more(clock: ManualClock) -> None:
    """R-MGR-13."""
    store = MemoryStore()
    sessions: Sessions = SessionManager(store, clock=clock)
    await sessions.create(id="s")
    openings = [Entry(f"request:{at}", 0, 0, Kind.OPENING, clock.now(), b"", b"%d" % at) for at in range(PENDING_MAX)]
    await append_to(store, "s", 0, openings)
    with pytest.raises(Conflict):
        await sessions.requests.register("s", 1)
    with pytest.raises(Refused, match="10000 requests of session s… are pending"):
        await sessions.requests.register("s", "new")
    await sessions.requests.complete("s", 1)
    await sessions.requests.register("s", "new")


class Slow(MemoryStore):
    """A journal that writes when it is let, and a store that notes who is used, and when it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.appending = 0
        self.error: HoldfastError | None = None
        self.written = True
        self.used: list[str] = []
        self.at_once = self.at_once_max = 0

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        self.appending += 1
        await self.go_on.wait()
        outcome: list[HoldfastError | None] = await super().append(batches) if self.written else [None]
        if self.error is not None:
            raise self.error
        return outcome

    async def use(self, session_id: str, at: float) -> Record:
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            self.used.append(session_id)
            found = await self.get(session_id)
            assert found is not None
            return found
        finally:
            self.at_once -= 1


@pytest.fixture
async def slow(clock: ManualClock) -> tuple[Slow, Sessions]:
    store = Slow()
    sessions: Sessions = SessionManager(store, clock=clock)
    await sessions.create(id="s", timeout=10)
    return store, sessions


async def test_a_register_that_is_cancelled_counts_if_it_was_written(
    slow: tuple[Slow, Sessions], clock: ManualClock
) -> None:
    """R-MGR-13: and is over when that is known."""
    store, sessions = slow
    registering = asyncio.create_task(sessions.requests.register("s", 1))
    await eventually_async(lambda: store.appending == 1)
    registering.cancel()
    await asyncio.sleep(0)
    assert not registering.done()
    store.go_on.set()
    await asyncio.wait({registering})
    assert registering.cancelled()
    assert await sessions.requests.pending("s") == [1]
    clock.advance(4)
    await sessions.requests.use_sessions(store.use)
    assert store.used == ["s"]
    await sessions.requests.complete("s", 1)
    assert not sessions.requests.in_flight.sessions


@pytest.mark.parametrize("written", [True, False])
async def test_a_register_whose_outcome_is_unknown_counts_if_it_was_written(
    slow: tuple[Slow, Sessions], clock: ManualClock, written: bool
) -> None:
    """R-MGR-13."""
    store, sessions = slow
    store.go_on.set()
    store.error, store.written = Unavailable("nobody knows"), written
    with pytest.raises(Unavailable):
        await sessions.requests.register("s", 1)
    store.error = None
    clock.advance(4)
    await sessions.requests.use_sessions(store.use)
    assert store.used == ["s"] * written
    assert bool(sessions.requests.in_flight.sessions) is written


async def test_a_register_that_is_refused_counts_nothing(slow: tuple[Slow, Sessions]) -> None:
    """R-MGR-13."""
    store, sessions = slow
    store.go_on.set()
    store.error = Moved("somebody else's")
    store.written = False
    with pytest.raises(Moved):
        await sessions.requests.register("s", 1)
    assert not sessions.requests.in_flight.sessions


async def test_what_others_registered_or_completed_is_not_counted_here(clock: ManualClock) -> None:
    """R-MGR-13: whoever else completes it, and whoever else registered what is completed here."""
    store = MemoryStore()
    here, there = SessionManager[Any](store, clock=clock), SessionManager[Any](store, clock=clock)
    for name in ("mine", "theirs"):
        await here.create(id=name, timeout=10)
        await there.requests.register(name, 1)
        await here.requests.register(name, 2)
    await here.requests.complete("mine", 1)
    await there.requests.complete("theirs", 2)
    for _ in range(4):
        clock.advance(4)
        await here._chores()
    assert await here.ids() == ["mine"]


@pytest.mark.parametrize("end", ["delete", "expire", "evict", "terminate"])
async def test_a_session_that_is_gone_counts_no_more(clock: ManualClock, end: str) -> None:
    """R-MGR-13: nor does the next one under its id."""
    capacity = Capacity(sessions=1, when_full="evict")
    sessions: Sessions = SessionManager(MemoryStore(), clock=clock, capacity=capacity)
    await sessions.create(id="s", timeout=10)
    await sessions.requests.register("s", 1)
    if end == "delete":
        await sessions.delete("s")
    elif end == "expire":
        clock.advance(10)
        await sessions.cleanup_expired()
    elif end == "evict":
        await sessions.create(id="other")
    else:
        await sessions.terminate("s")
    assert not sessions.requests.in_flight.sessions


async def test_a_shorter_timeout_lets_no_session_expire_that_has_requests(clock: ManualClock) -> None:
    """R-MGR-13."""
    sessions: Sessions = SessionManager(MemoryStore(), clock=clock)
    for name in ("set", "updated"):
        await sessions.create(id=name, timeout=3600)
        await sessions.requests.register(name, 1)
    await sessions._chores()

    def shorten(draft: Draft[Any]) -> Draft[Any]:
        draft.timeout = 6
        return draft

    await sessions.set_timeout("set", 6)
    await sessions.update("updated", shorten)
    for _ in range(5):
        clock.advance(3)
        await sessions._chores()
    assert await sessions.ids() == ["set", "updated"]


async def test_many_sessions_in_use_leave_others_their_turn() -> None:
    """R-PER-5, R-MGR-13."""
    for watch in LoopWatch.rounds():
        clock = ManualClock()
        sessions: Sessions = SessionManager(MemoryStore(), clock=clock)
        for at in range(20_000):
            await sessions.create(id=f"s{at}", timeout=60)
            await sessions.requests.register(f"s{at}", 1)
        clock.advance(59)
        with watch:
            await sessions._chores()
        clock.advance(59)
        assert await sessions.cleanup_expired() == 0


async def test_a_store_that_waits_is_asked_for_several_at_once_and_no_more_when_it_fails(
    slow: tuple[Slow, Sessions], clock: ManualClock
) -> None:
    """R-MGR-13: those that were not looked at are looked at the next time."""
    store, sessions = slow
    store.go_on.set()
    names = [f"s{at}" for at in range(100)]
    for name in names:
        await sessions.create(id=name, timeout=10)
        await sessions.requests.register(name, 1)
    clock.advance(5)
    store.error = Unavailable("down")
    with pytest.raises(Unavailable):
        await sessions.requests.use_sessions(store.use)
    assert 1 < store.at_once_max < 20
    assert store.used == []
    store.error = None
    await sessions.requests.use_sessions(store.use)
    assert sorted(store.used) == sorted(names)
    await sessions.requests.use_sessions(store.use)
    assert len(store.used) == 100


async def trimmed(sessions: Sessions) -> bool:
    """Tell whether the answer is still kept."""
    await sessions._requests.trim()
    return not await sessions._store.read("s", "old", after=(0, -1))  # type: ignore[attr-defined]  # it is a journal


@pytest.mark.parametrize(("bounds", "kept_s"), [({}, 86_400), ({"journal": JournalBounds(age_s_max=100)}, 100)])
async def test_a_journal_is_trimmed_once_a_minute_if_requests_were_registered(
    clock: ManualClock, bounds: dict[str, Any], kept_s: float
) -> None:
    """R-MGR-13: as its bounds say."""
    store = MemoryStore()
    sessions: Sessions = SessionManager(store, clock=clock, retention=Retention(**bounds))
    await sessions.create(id="s", timeout=None)
    await append_to(store, "s", 0, [Entry("old", 0, 0, Kind.OPENING, clock.now()), Entry("old", 0, 1, Kind.FINAL, 0)])
    clock.advance(kept_s + 1)
    assert not await trimmed(sessions)
    await sessions.requests.register("s", 1)
    clock.advance(59)
    assert not await trimmed(sessions)
    clock.advance(1)
    assert await trimmed(sessions)


async def test_a_manager_that_is_entered_trims_unless_somebody_else_does(clock: ManualClock) -> None:
    """R-MGR-13: the server has bounds of its own."""

    class Trimmed(MemoryStore):
        trims = 0

        async def trim(self, bounds: JournalBounds, now: float) -> int:
            self.trims += 1
            return 0

    others, own = Trimmed(), Trimmed()
    async with (
        SessionManager[Any](others, clock=clock, retention=Retention(journal=None)) as first,
        SessionManager[Any](own, clock=clock) as second,
    ):
        for sessions in (first, second):
            await sessions.create(id="s", timeout=None)
            await sessions.requests.register("s", 1)
        clock.advance(60)
        await eventually_async(lambda: own.trims == 1)
        await first._requests.trim()
    assert others.trims == 0
