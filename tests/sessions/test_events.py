"""What subscribers are told, when, and what becomes of those that are slow, fail, or leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import (
    Capacity,
    Conflict,
    Draft,
    EventsMissed,
    Misused,
    Moved,
    NotFound,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionEvicted,
    SessionExpired,
    SessionManager,
    SessionOwnerChanged,
    SessionStateChanged,
    SessionUpdated,
    open_store,
)
from holdfast.model.clock import stopwatch_ns
from holdfast.testing import ManualClock
from tests.kit import eventually_async

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]
Event = SessionEvent[Metadata]


def increment(draft: Draft[Metadata]) -> Draft[Metadata]:
    draft.metadata["n"] += 1
    return draft


async def test_every_act_is_told_with_what_is_stored_from_then_on(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-7."""
    told: list[Event] = []
    subscription = sessions.subscribe(told.append)
    session = await sessions.create({"n": 0}, id="s", timeout=10)
    await sessions.get("s")
    await sessions.touch("s")
    await sessions.peek("s")
    await sessions.update("s", increment)
    await sessions.set_timeout("s", 5)
    await sessions.tag("s", "new")
    await sessions.take_over("s", 7)
    await sessions.terminate("s", "done")
    await sessions.delete("s")
    await sessions.delete("s")
    await sessions.create({}, id="t", timeout=3)
    clock.advance(3)
    await sessions.cleanup_expired(late_s=0)
    await subscription.close()
    assert [(type(event), event.session.id, event.session.version) for event in told] == [
        (SessionCreated, "s", 1),
        (SessionUpdated, "s", 2),
        (SessionUpdated, "s", 3),
        (SessionUpdated, "s", 4),
        (SessionOwnerChanged, "s", 5),
        (SessionStateChanged, "s", 6),
        (SessionDeleted, "s", 6),
        (SessionCreated, "t", 1),
        (SessionExpired, "t", 1),
    ]
    assert [event.session.metadata for event in told[:2]] == [{"n": 0}, {"n": 1}]
    assert (told[4].session.term, told[5].session.state, told[5].session.reason) == (7, "terminated", "done")
    assert {event.at for event in told[:8]} == {session.created_at}
    assert told[8].at == session.created_at + 3


async def test_an_event_has_metadata_and_live_objects_of_its_own(sessions: Sessions) -> None:
    """R-MGR-12: what the caller does with a session changes no event; and who hears of an end can still clean up."""
    told: list[Event] = []
    subscription = sessions.subscribe(told.append)
    session = await sessions.create({"n": 1}, id="s")
    session.metadata["n"] = 99
    session.local["task"] = task = object()
    (await sessions.update("s", increment)).metadata["n"] = 99
    await sessions.delete("s")
    await subscription.close()
    assert [event.session.metadata["n"] for event in told] == [1, 2, 2]
    assert told[-1].session.local == {"task": task}
    assert (await sessions.create(id="s")).local == {}


async def test_who_deletes_what_is_expired_tells_that_it_expired(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-7."""
    told: list[Event] = []
    subscription = sessions.subscribe(told.append, SessionDeleted, SessionExpired)
    await sessions.create(id="s", timeout=5)
    clock.advance(5)
    assert not await sessions.delete("s")
    await subscription.close()
    assert [type(event) for event in told] == [SessionExpired]
    metrics = await sessions.metrics()
    assert (metrics.expired, metrics.deleted) == (1, 0)


async def test_an_end_is_told_before_the_next_beginning_under_the_same_id(clock: ManualClock) -> None:
    """R-MGR-7: whoever takes the id as soon as it is free, and whatever else the sweep has to do."""
    async with open_store("memory://") as store:
        sessions: Sessions = SessionManager(store, clock=clock)
        told: list[tuple[str, str]] = []
        subscription = sessions.subscribe(lambda event: told.append((event.session.id, type(event).__name__)))
        names = [f"s{at}" for at in range(1200)]
        for name in names:
            await sessions.create(id=name, timeout=1)
        clock.advance(1)

        async def again(name: str) -> None:
            for _ in range(100_000):
                if await store.get(name) is None:
                    break
                await asyncio.sleep(0)
            await sessions.create(id=name)

        await asyncio.gather(sessions.cleanup_expired(), *map(again, names[::100]))
        await subscription.close()
        for name in names[::100]:
            assert [kind for each, kind in told if each == name] == [
                "SessionCreated",
                "SessionExpired",
                "SessionCreated",
            ]


async def test_what_makes_room_for_another_is_told_as_evicted(url: str) -> None:
    """R-MGR-7, R-MGR-8."""
    told: list[Event] = []
    async with SessionManager[Metadata].open(url, capacity=Capacity(sessions=1, when_full="evict")) as sessions:
        sessions.subscribe(told.append, SessionEvicted)
        await sessions.create(id="s")
        await sessions.create(id="t")
    assert [event.session.id for event in told] == ["s"]


async def test_an_act_that_fails_is_not_told(sessions: Sessions) -> None:
    """R-MGR-7: whose compare-and-set won, and nobody else, tells of it."""
    await sessions.create({"n": 0}, id="s")
    told: list[Event] = []
    subscription = sessions.subscribe(told.append)
    for act in (
        sessions.create(id="s"),
        sessions.update("s", lambda draft: None),  # type: ignore[arg-type, return-value]  # that is the fault
        sessions.set_timeout("nobody", 1),
        sessions.take_over("s", -1),
    ):
        with pytest.raises((Conflict, Misused, NotFound, Moved)):
            await act
    await subscription.close()
    assert told == []


async def test_the_events_of_a_session_come_in_order_however_many_write_it(sessions: Sessions) -> None:
    """R-MGR-7."""
    told: dict[str, list[int]] = {"s": [], "t": []}
    subscription = sessions.subscribe(lambda event: told[event.session.id].append(event.session.version))
    for name in told:
        await sessions.create({"n": 0}, id=name)

    async def slowly(draft: Draft[Metadata]) -> Draft[Metadata]:
        await asyncio.sleep(0)
        return increment(draft)

    await asyncio.gather(*(sessions.update(name, fn) for name in told for fn in (increment, slowly) * 20))
    await asyncio.gather(sessions.update("s", increment), sessions.delete("s"))
    await subscription.close()
    assert told["t"] == list(range(1, 42))
    assert told["s"] == [*range(1, 43), 42] or told["s"] == [*range(1, 42), 41]


async def test_events_build_the_same_sessions(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-7."""
    built: dict[str, tuple[int, Metadata, frozenset[str]]] = {}

    def build(event: Event) -> None:
        session = event.session
        if isinstance(event, SessionDeleted | SessionExpired):
            del built[session.id]
        else:
            built[session.id] = session.version, session.metadata, session.tags

    subscription = sessions.subscribe(build)
    for at in range(60):
        await sessions.create({"n": at}, id=f"s{at}", timeout=1 + at % 7)
    await asyncio.gather(*(sessions.update(f"s{at % 60}", increment) for at in range(300)))
    await sessions.tag("s5", "five")
    clock.advance(3)
    await sessions.cleanup_expired(late_s=0)
    await asyncio.gather(*(sessions.delete(f"s{at}") for at in range(0, 60, 3)))
    await subscription.close()
    assert built == {each.id: (each.version, each.metadata, each.tags) for each in await sessions.list()}
    assert len(built) > 10


async def test_a_subscriber_gets_the_kinds_it_asked_for(sessions: Sessions) -> None:
    """R-MGR-7."""
    told: list[Event] = []
    subscription = sessions.subscribe(told.append, SessionDeleted, SessionUpdated)
    await sessions.create({"n": 0}, id="s")
    await sessions.update("s", increment)
    await sessions.delete("s")
    await subscription.close()
    assert [type(event) for event in told] == [SessionUpdated, SessionDeleted]


@pytest.mark.parametrize(("kinds", "waiting_max"), [((int,), 10), (("created",), 10), ((SessionCreated,), 0)])
async def test_a_subscription_that_makes_no_sense_is_refused(
    sessions: Sessions, kinds: tuple[Any, ...], waiting_max: int
) -> None:
    with pytest.raises(Misused):
        sessions.subscribe(print, *kinds, waiting_max=waiting_max)


async def test_a_slow_subscriber_stalls_nobody_and_is_told_what_it_missed(sessions: Sessions) -> None:
    """R-MGR-7: a bounded queue, gaps counted and told."""
    go_on, told, others = asyncio.Event(), list[Any](), list[Any]()

    async def slow(event: Event) -> None:
        await go_on.wait()
        told.append(event)

    late = sessions.subscribe(slow, waiting_max=3)
    quick = sessions.subscribe(others.append)
    for at in range(10):
        await sessions.create(id=f"s{at}")
        await eventually_async(lambda: len(others) == at + 1)  # noqa: B023 - it is waited for here
    assert told == []
    go_on.set()
    await eventually_async(lambda: len(told) == 5)
    await sessions.create(id="after")
    await late.close()
    await quick.close()
    # The first is in the handler's hands, three wait behind it.
    assert [event.session.id for event in told if isinstance(event, SessionEvent)] == ["s0", "s1", "s2", "s3", "after"]
    assert told[4] == EventsMissed(6)
    assert (late.missed, quick.missed) == (6, 0)


async def test_a_subscriber_that_fails_gets_the_next_event(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-7."""
    told: list[str] = []

    async def fail(event: Event) -> None:
        told.append(event.session.id)
        raise ValueError(event.session.id)

    subscription = sessions.subscribe(fail)
    for name in ("s", "t"):
        await sessions.create(id=name)
    await subscription.close()
    assert told == ["s", "t"]
    assert caplog.text.count("a subscriber failed") == 2


async def test_a_closed_subscription_hears_no_more(sessions: Sessions) -> None:
    told: list[Event] = []
    subscription = sessions.subscribe(told.append)
    await sessions.create(id="s")
    await subscription.close()
    await sessions.create(id="t")
    await asyncio.sleep(0)
    assert [event.session.id for event in told] == ["s"]


async def test_a_subscriber_may_close_itself_and_use_the_manager(sessions: Sessions) -> None:
    told: list[str] = []

    async def once(event: Event) -> None:
        told.append(event.session.id)
        await subscription.close()
        await sessions.delete(event.session.id)

    subscription = sessions.subscribe(once, SessionCreated)
    await sessions.create(id="s")
    await eventually_async(lambda: told == ["s"])
    await sessions.create(id="t")
    await eventually_async(lambda: sessions._subscriptions.all == ())
    assert told == ["s"]


async def test_closing_a_manager_tells_what_waits_and_does_not_wait_for_ever(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-15."""
    told: list[Event] = []
    never = asyncio.Event()

    async def hang(_: Event) -> None:
        await never.wait()

    sessions.subscribe(told.append)
    sessions.subscribe(hang)
    for at in range(500):
        await sessions.create(id=f"s{at}")
    await sessions.close(within_s=0.05)
    assert [event.session.id for event in told] == [f"s{at}" for at in range(500)]
    assert "did not take its last 500 events" in caplog.text


async def test_many_events_leave_others_their_turn(sessions: Sessions) -> None:
    """R-PER-5: a handler that takes its time has a millisecond, or one event, before others have their turn."""
    told: list[int] = []
    turns = 0

    def slow(_: Event) -> None:
        told.append(turns)
        until = stopwatch_ns() + 2_000_000
        while stopwatch_ns() < until:
            pass

    session = await sessions.create(id="s")
    subscription = sessions.subscribe(slow)
    for _ in range(5):
        subscription.push(SessionCreated(session, 0.0))
    while len(told) < 5:
        turns += 1
        await asyncio.sleep(0)
    assert max(told.count(turn) for turn in set(told)) == 1
    await subscription.close()
