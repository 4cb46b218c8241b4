"""Following what happens by a cursor: complete, in order, across processes, and told when it is too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    CursorExpired,
    Draft,
    FeedBounds,
    Misused,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionManager,
    SessionOwnerChanged,
    SessionStateChanged,
    SessionUpdated,
    open_store,
)
from holdfast.sessions import Retention
from holdfast.sessions.feed import Follower
from holdfast.testing import ManualClock
from tests.stores.engines import ENGINES

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]
Event = SessionEvent[Metadata]


@pytest.fixture(params=["sqlite", *ENGINES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/sessions.db"


@pytest.fixture
async def sessions(url: str, clock: ManualClock) -> AsyncIterator[Sessions]:
    async with open_store(url, clock=clock) as store:
        yield SessionManager(store, clock=clock)


def increment(draft: Draft[Metadata]) -> Draft[Metadata]:
    draft.metadata["n"] += 1
    return draft


async def all_of(follower: Follower[Metadata]) -> list[Event]:
    return [event async for event in follower]


async def test_every_act_is_told_as_a_subscriber_is_told(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-7."""
    told: list[Event] = []
    subscription = sessions.subscribe(told.append)
    await sessions.create({"n": 0}, id="s", timeout=10)
    await sessions.get("s")
    await sessions.update("s", increment)
    await sessions.tag("s", "new")
    await sessions.take_over("s", 7)
    await sessions.terminate("s", "done")
    await sessions.delete("s")
    await sessions.create({}, id="t", timeout=3)
    clock.advance(3)
    await sessions.cleanup_expired(late_s=0)
    await subscription.close()
    events = await all_of(sessions.follow(wait=False))
    assert [type(event) for event in events] == [
        SessionCreated,
        SessionUpdated,
        SessionUpdated,
        SessionOwnerChanged,
        SessionStateChanged,
        SessionDeleted,
        SessionCreated,
        SessionExpired,
    ]
    for event, other in zip(events, told, strict=True):
        assert (type(event), event.at, event.session.id) == (type(other), other.at, other.session.id)
        assert (event.session.version, event.session.metadata) == (other.session.version, other.session.metadata)


async def test_a_follower_goes_on_where_another_one_stopped(sessions: Sessions) -> None:
    """R-MGR-7: exactly once, for whoever keeps the cursor with what the event brought about."""
    for at in range(10):
        await sessions.create(id=f"s{at}")
    seen: list[str] = []
    cursor: str | None = None
    while len(seen) < 10:
        follower = sessions.follow(cursor)
        async for event in follower:
            seen.append(event.session.id)
            cursor = follower.cursor
            if len(seen) % 3 == 0 or len(seen) == 10:
                break
    assert seen == [f"s{at}" for at in range(10)]
    assert await all_of(sessions.follow(cursor, wait=False)) == []


async def test_a_follower_waits_for_what_comes(sessions: Sessions, url: str) -> None:
    """R-MGR-7: also for what another process writes."""
    await sessions.create(id="before")
    position = await sessions.feed_position()
    seen: list[str] = []

    async def follow() -> None:
        async for event in sessions.follow(position):
            seen.append(event.session.id)
            if event.session.id == "last":
                return

    following = asyncio.ensure_future(follow())
    await asyncio.sleep(0)
    await sessions.create(id="here")
    if url.startswith("sqlite"):
        async with SessionManager[Metadata].open(url) as others:
            await others.create(id="there")
            await others.create(id="last")
            await asyncio.wait_for(following, 5)
        assert seen == ["here", "there", "last"]
    else:
        await sessions.create(id="last")
        await asyncio.wait_for(following, 5)
        assert seen == ["here", "last"]


async def test_a_follower_that_fell_behind_is_told_what_to_do(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-7."""
    await sessions.create(id="a", timeout=None)
    early = sessions.follow()
    await anext(early)
    cursor = early.cursor
    await sessions.create(id="b", timeout=None)
    clock.advance(90_000)
    assert await sessions.trim_feed() == 2
    with pytest.raises(CursorExpired, match=r"take the feed's position.*follow from that"):
        await anext(sessions.follow(cursor))
    known = {session.id async for session in sessions.scan()}
    position = await sessions.feed_position()
    await sessions.create(id="c")
    assert known == {"a", "b"}
    assert [event.session.id for event in await all_of(sessions.follow(position, wait=False))] == ["c"]


async def test_what_is_never_written_is_not_followed(sessions: Sessions) -> None:
    """R-MGR-1: and the rest is, also once there are such."""
    await sessions.create(id="secret", durable=False)
    await sessions.create(id="s")
    await sessions.delete("secret")
    assert [event.session.id for event in await all_of(sessions.follow(wait=False))] == ["s"]


async def test_an_expired_session_that_is_deleted_has_expired(sessions: Sessions, clock: ManualClock) -> None:
    await sessions.create(id="s", timeout=5)
    clock.advance(5)
    assert await sessions.delete("s") is False
    assert type((await all_of(sessions.follow(wait=False)))[-1]) is SessionExpired


async def test_bounds_of_the_feed_can_be_chosen(url: str, clock: ManualClock) -> None:
    """R-MGR-7."""
    bounds = FeedBounds(age_s_max=60.0)
    async with SessionManager[Metadata].open(url, clock=clock, retention=Retention(feed=bounds)) as sessions:
        await sessions.create(id="s", timeout=None)
        clock.advance(61)
        assert await sessions.trim_feed() == 1


async def test_a_store_without_a_feed_cannot_be_followed(clock: ManualClock) -> None:
    async with SessionManager[Metadata].open("memory://", clock=clock) as sessions:
        with pytest.raises(Misused, match="feed"):
            sessions.follow()
        with pytest.raises(Misused, match="feed"):
            await sessions.restore_to(clock.now())
        assert await sessions.trim_feed() == 0
