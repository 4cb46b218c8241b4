"""Going back to a moment of the last day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import Draft, Misused, NotFound, Restored, SessionCreated, SessionManager, SessionUpdated, open_store
from holdfast.testing import ManualClock
from tests.stores.engines import ENGINES

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


@pytest.fixture(params=["sqlite", *ENGINES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/sessions.db"


@pytest.fixture
async def sessions(url: str, clock: ManualClock) -> AsyncIterator[Sessions]:
    async with open_store(url, clock=clock) as store:
        yield SessionManager(store, clock=clock)


def emptied(draft: Draft[Metadata]) -> Draft[Metadata]:
    draft.metadata = {}
    draft.tags = ["spoilt"]
    draft.timeout = 1
    return draft


async def contents_of(sessions: Sessions) -> dict[str, Metadata]:
    return {session.id: session.metadata async for session in sessions.scan()}


async def damage(sessions: Sessions, clock: ManualClock) -> float:
    """Make sessions, and then a mess of them; return the moment before."""
    for name in ("kept", "changed", "deleted", "ended"):
        await sessions.create({"of": name}, id=name, timeout=7200, tags=["t"])
    moment = clock.now()
    clock.advance(60)
    await sessions.update("changed", emptied)
    await sessions.set_timeout("changed", 5000)
    await sessions.delete("deleted")
    await sessions.terminate("ended")
    await sessions.create({"of": "new"}, id="new", timeout=7200)
    clock.advance(60)
    return moment


async def test_sessions_are_again_what_they_were(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10: as a new version, told as an event; deleted ones stay deleted, terminated ones terminated."""
    moment = await damage(sessions, clock)
    told: list[object] = []
    subscription = sessions.subscribe(told.append)
    assert await sessions.restore_to(moment) == Restored(changed=1, left=2)
    await subscription.close()
    assert await contents_of(sessions) == {name: {"of": name} for name in ("kept", "changed", "new")}
    changed = await sessions.peek("changed")
    assert (changed.version, changed.timeout, changed.tags) == (4, 7200.0, frozenset({"t"}))
    assert changed.last_accessed == clock.now(), "its idle clock starts anew"
    assert (await sessions.peek("ended")).state == "terminated"
    assert [type(event) for event in told] == [SessionUpdated]
    assert await sessions.restore_to(moment) == Restored(left=2), "again changes nothing"


async def test_deleted_sessions_come_back_when_they_are_chosen(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10: as sessions created now, so that nobody takes them for a version already seen."""
    moment = await damage(sessions, clock)
    told: list[object] = []
    subscription = sessions.subscribe(told.append, SessionCreated)
    assert await sessions.restore_to(moment, deleted=True) == Restored(changed=1, created=1, left=1)
    await subscription.close()
    again = await sessions.peek("deleted")
    assert (again.version, again.created_at, again.metadata) == (1, clock.now(), {"of": "deleted"})
    assert len(told) == 1


async def test_what_came_later_goes_when_that_is_chosen(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10."""
    moment = await damage(sessions, clock)
    before = (await sessions.metrics()).deleted
    assert (await sessions.restore_to(moment, later=True)).deleted == 1
    assert (await sessions.metrics()).deleted == before + 1
    with pytest.raises(NotFound):
        await sessions.peek("new")


async def test_some_sessions_can_be_chosen(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10."""
    moment = await damage(sessions, clock)
    for ids, done in ((["kept"], Restored()), (["deleted", "new"], Restored(created=1, deleted=1))):
        assert await sessions.restore_to(moment, ids=ids, deleted=True, later=True) == done
    assert (await sessions.peek("changed")).metadata == {}


async def test_a_rehearsal_says_what_would_be_and_changes_nothing(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10."""
    moment = await damage(sessions, clock)
    before = await contents_of(sessions), await sessions.feed_position()
    would = await sessions.restore_to(moment, deleted=True, later=True, dry_run=True)
    assert (await contents_of(sessions), await sessions.feed_position()) == before
    assert await sessions.restore_to(moment, deleted=True, later=True) == would
    assert would == Restored(changed=1, created=1, deleted=1, left=1)


async def test_a_terminated_session_that_was_deleted_since_stays_so(sessions: Sessions, clock: ManualClock) -> None:
    """R-LIF-4: a restore never revives it."""
    moment = await damage(sessions, clock)
    await sessions.delete("ended")
    assert (await sessions.restore_to(moment, deleted=True)).created == 1
    with pytest.raises(NotFound):
        await sessions.peek("ended")


async def test_a_restored_session_lives_no_longer_than_it_might_have(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3: no access extends its greatest age, and no restore."""
    await sessions.create(id="short", max_age=30)
    await sessions.create(id="long", max_age=300)
    moment = clock.now()
    clock.advance(29)
    await sessions.delete("short")
    await sessions.delete("long")
    clock.advance(1)
    assert await sessions.restore_to(moment, deleted=True) == Restored(created=1, left=1)
    assert (await sessions.peek("long")).max_age == 270


async def test_an_id_that_another_session_has_now_is_left(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10: unless that one is to go as well."""
    await sessions.create({"of": "first"}, id="s")
    moment = clock.now()
    clock.advance(1)
    await sessions.delete("s")
    await sessions.create({"of": "second"}, id="s")
    assert await sessions.restore_to(moment, deleted=True) == Restored(left=1)
    assert await sessions.restore_to(moment, deleted=True, later=True) == Restored(created=1, deleted=1)
    assert (await sessions.peek("s")).metadata == {"of": "first"}


async def test_a_moment_that_is_not_known_changes_nothing(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10: neither one before the horizon, nor one that is not there yet."""
    await sessions.create({"n": 1}, id="s", timeout=None)
    moment = clock.now()
    clock.advance(90_000)
    await sessions.trim_feed()
    await sessions.create({"n": 2}, id="later", timeout=None)
    before = await contents_of(sessions)
    for at in (moment - 1, clock.now() + 1, float("nan")):
        with pytest.raises(Misused, match="moment"):
            await sessions.restore_to(at, later=True)
    wrong: Any
    for wrong in ("yesterday", None, True, [moment]):
        with pytest.raises(Misused, match="at is a number of seconds"):
            await sessions.restore_to(wrong, later=True)
    assert await contents_of(sessions) == before


async def test_progress_is_told_as_it_goes(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-10: in pages, however many there are."""
    for at in range(250):
        await sessions.create({"n": at}, id=f"s{at}")
    moment = clock.now()
    clock.advance(1)
    for at in range(250):
        await sessions.update(f"s{at}", emptied, sync=False)
    told: list[Restored] = []
    done = await sessions.restore_to(moment, on_progress=told.append)
    assert done == told[-1] == Restored(changed=250)
    assert len(told) >= 3
    assert await contents_of(sessions) == {f"s{at}": {"n": at} for at in range(250)}
