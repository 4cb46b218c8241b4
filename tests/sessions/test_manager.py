"""What a session manager promises, on every store."""

from __future__ import annotations

import asyncio
import math
import re
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Conflict, Draft, Misused, Moved, NotFound, SessionManager
from holdfast.testing import ManualClock

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


def increment(draft: Draft[Metadata]) -> Draft[Metadata]:
    draft.metadata["n"] += 1
    return draft


async def is_there(sessions: Sessions, session_id: str) -> bool:
    try:
        await sessions.peek(session_id)
    except NotFound:
        return False
    return True


async def test_a_session_comes_back_as_it_was_created(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-1, R-MGR-12."""
    made = await sessions.create({"n": (1, 2)}, timeout=60, max_age=90, owner="iss|ada", tags=["a", "b"])
    found = await sessions.get(made.id)
    for session in (made, found):
        assert (session.version, session.term, session.state, session.reason) == (1, 0, "active", None)
        assert (session.created_at, session.last_accessed) == (clock.now(), clock.now())
        assert (session.timeout, session.max_age) == (60.0, 90.0)
        assert (session.owner, session.tags) == ("iss|ada", frozenset({"a", "b"}))
        assert session.metadata == {"n": (1, 2)}


async def test_an_id_is_32_hex_characters_and_never_the_same(sessions: Sessions) -> None:
    """R-MGR-1."""
    ids = {(await sessions.create()).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch("[0-9a-f]{32}", session_id) for session_id in ids)


async def test_the_default_timeout_is_an_hour(sessions: Sessions) -> None:
    """R-MGR-3."""
    assert (await sessions.create()).timeout == 3600.0


async def test_a_taken_id_is_a_conflict_and_nothing_is_changed(sessions: Sessions) -> None:
    """R-MGR-1."""
    await sessions.create({"n": 1}, id="é")
    with pytest.raises(Conflict, match="taken"):
        await sessions.create({"n": 2}, id="é")
    assert (await sessions.get("é")).metadata == {"n": 1}


async def test_an_id_is_taken_whoever_owns_the_session(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-1: and free once that is expired."""
    await sessions.create(id="s", timeout=5)
    await sessions.take_over("s", 7)
    with pytest.raises(Conflict):
        await sessions.create(id="s")
    clock.advance(5 + sessions._late_s)
    assert (await sessions.create(id="s")).term == 0


async def test_the_id_of_an_expired_session_is_free(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3: where others use the store, once each access of theirs must have been written."""
    await sessions.create({"n": 1}, id="s", timeout=10)
    clock.advance(10)
    with pytest.raises(NotFound):
        await sessions.get("s")
    if sessions._late_s:
        with pytest.raises(Conflict):
            await sessions.create({"n": 2}, id="s")
        clock.advance(sessions._late_s)
    await sessions.create({"n": 2}, id="s")
    assert (await sessions.get("s")).metadata == {"n": 2}


@pytest.mark.parametrize("session_id", ["", "x" * 256, "é" * 128, "a\0b", "\ud800", 5])
async def test_an_id_that_is_no_id_is_refused(sessions: Sessions, session_id: Any) -> None:
    """R-MGR-1."""
    with pytest.raises(Misused):
        await sessions.create(id=session_id)
    with pytest.raises(NotFound):
        await sessions.get(session_id)


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": -1},
        {"timeout": math.nan},
        {"timeout": True},
        {"timeout": "60"},
        {"timeout": math.inf},
        {"timeout": 10**400},
        {"timeout": timedelta(seconds=-1)},
        {"max_age": -0.1},
        {"owner": ""},
        {"owner": 7},
        {"owner": "x" * 1025},
        {"tags": "abc"},
        {"tags": [""]},
        {"tags": [1]},
        {"tags": [str(number) for number in range(65)]},
        {"metadata": {"x": object}},
        {"metadata": []},
    ],
    ids=str,
)
async def test_what_is_not_valid_is_refused_and_nothing_is_created(sessions: Sessions, arguments: Metadata) -> None:
    """R-MGR-3, R-MGR-12."""
    with pytest.raises(Misused):
        await sessions.create(**arguments)
    assert await sessions.list() == []


async def test_an_access_restarts_the_idle_clock_and_a_look_does_not(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-2."""
    for name in ("get", "touch", "update", "set_timeout"):
        await sessions.create({"n": 0}, id=name, timeout=10)
    for name in ("peek", "list", "scan", "ids"):
        await sessions.create({"n": 0}, id=name, timeout=10)
    clock.advance(6)
    await sessions.get("get")
    await sessions.touch("touch")
    await sessions.update("update", increment)
    await sessions.set_timeout("set_timeout", 10)
    await sessions.peek("peek")
    await sessions.list()
    assert len([session async for session in sessions.scan()]) == len(await sessions.ids()) == 8
    clock.advance(6)
    assert sorted(await sessions.ids()) == ["get", "set_timeout", "touch", "update"]


async def test_a_session_is_gone_exactly_at_its_timeout(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3."""
    await sessions.create({"n": 0}, id="s", timeout=10)
    clock.advance(9.5)
    assert await is_there(sessions, "s")
    clock.advance(0.5)
    for act in (
        sessions.get("s"),
        sessions.peek("s"),
        sessions.touch("s"),
        sessions.update("s", increment),
        sessions.set_timeout("s", None),
        sessions.terminate("s", "late"),
        sessions.take_over("s", 1),
    ):
        with pytest.raises(NotFound, match="s…"):
            await act
    assert await sessions.list() == []
    assert await sessions.delete("s") is False


async def test_timeout_zero_is_gone_at_once_and_none_never(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3."""
    await sessions.create(id="zero", timeout=0)
    await sessions.create(id="never", timeout=None)
    assert not await is_there(sessions, "zero")
    clock.advance(1e9)
    assert await is_there(sessions, "never")


async def test_no_access_extends_the_greatest_age(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3."""
    await sessions.create(id="s", timeout=10, max_age=timedelta(seconds=25))
    for _ in range(4):
        clock.advance(6)
        await sessions.get("s")
    clock.advance(1)
    assert not await is_there(sessions, "s")


async def test_set_timeout_counts_from_now(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-5."""
    await sessions.create(id="s", timeout=100)
    clock.advance(50)
    assert (await sessions.set_timeout("s", 20)).timeout == 20.0
    clock.advance(19)
    assert await is_there(sessions, "s")
    clock.advance(1)
    assert not await is_there(sessions, "s")
    await sessions.create(id="t", timeout=None)
    await sessions.set_timeout("t", 0)
    assert not await is_there(sessions, "t")


async def test_concurrent_increments_all_count(sessions: Sessions) -> None:
    """R-MGR-4."""
    session = await sessions.create({"n": 0})

    async def slowly(draft: Draft[Metadata]) -> Draft[Metadata]:
        before = draft.metadata["n"]
        await asyncio.sleep(0)
        draft.metadata["n"] = before + 1
        return draft

    async def count() -> None:
        for at in range(100):
            await sessions.update(session.id, slowly if at % 10 else increment, sync=False)

    await asyncio.gather(*(count() for _ in range(100)))
    found = await sessions.get(session.id)
    assert (found.metadata["n"], found.version) == (10_000, 10_001)


async def test_a_function_that_is_no_plain_one_runs_once_too(sessions: Sessions) -> None:
    """R-MGR-4: without a conflict nothing runs twice, whatever it returns."""
    await sessions.create({"n": 0}, id="s")
    ran: list[str] = []

    async def later(draft: Draft[Metadata]) -> Draft[Metadata]:
        ran.append("later")
        return increment(draft)

    def begins(draft: Draft[Metadata]) -> asyncio.Task[Draft[Metadata]]:
        ran.append("begins")
        return asyncio.ensure_future(later(draft))

    def forgets(draft: Draft[Metadata]) -> None:
        ran.append("forgets")

    await sessions.update("s", begins)
    await sessions.update("s", later)
    with pytest.raises(Misused, match="return draft"):
        await sessions.update("s", forgets)  # type: ignore[arg-type]  # that is the fault
    assert ran == ["begins", "later", "later", "forgets"]
    assert (await sessions.peek("s")).metadata == {"n": 2}


async def test_two_managers_on_one_store_lose_no_increment(url: str) -> None:
    """R-MGR-4."""
    async with SessionManager[Metadata].open(url) as sessions:
        others: Sessions = SessionManager(sessions._store)
        session = await sessions.create({"n": 0})
        await asyncio.gather(*(each.update(session.id, increment) for each in (sessions, others) * 10))
        assert (await sessions.get(session.id)).metadata["n"] == 20


async def test_an_update_that_raises_changes_nothing(sessions: Sessions) -> None:
    """R-MGR-4."""
    session = await sessions.create({"n": 0})

    def fail(draft: Draft[Metadata]) -> Draft[Metadata]:
        draft.metadata["n"] = 7
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sessions.update(session.id, fail)
    found = await sessions.get(session.id)
    assert (found.metadata, found.version) == ({"n": 0}, 1)
    assert (await sessions.update(session.id, increment)).metadata == {"n": 1}


@pytest.mark.parametrize("returned", [None, {}, "other draft"])
async def test_an_update_that_returns_something_else_is_refused(sessions: Sessions, returned: Any) -> None:
    """R-MGR-4."""
    session = await sessions.create({"n": 0})
    with pytest.raises(Misused, match="return draft"):
        await sessions.update(session.id, lambda draft: returned)
    assert (await sessions.get(session.id)).version == 1


async def test_a_draft_may_change_metadata_tags_and_timeout(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-4."""
    session = await sessions.create({"n": 0}, tags=["old"], owner="ada")
    clock.advance(5)

    def change(draft: Draft[Metadata]) -> Draft[Metadata]:
        draft.metadata = {"whole": "new"}
        draft.tags = {"new", *draft.tags}
        draft.timeout = timedelta(minutes=1)
        return draft

    await sessions.update(session.id, change)
    found = await sessions.get(session.id)
    assert found.metadata == {"whole": "new"}
    assert (found.tags, found.timeout) == (frozenset({"old", "new"}), 60.0)
    assert (found.id, found.created_at, found.owner) == (session.id, session.created_at, "ada")


@pytest.mark.parametrize("name", ["id", "created_at", "version", "owner", "state"])
async def test_a_draft_cannot_change_what_is_fixed(sessions: Sessions, name: str) -> None:
    """R-MGR-4."""
    session = await sessions.create()

    def change(draft: Draft[Metadata]) -> Draft[Metadata]:
        setattr(draft, name, "other")
        return draft

    with pytest.raises(AttributeError):
        await sessions.update(session.id, change)


@pytest.mark.parametrize(("name", "value"), [("metadata", {"x": object()}), ("tags", "x"), ("timeout", -1)])
async def test_a_draft_that_is_not_valid_changes_nothing(sessions: Sessions, name: str, value: Any) -> None:
    """R-MGR-4, R-MGR-12."""
    session = await sessions.create({"n": 0})

    def change(draft: Draft[Metadata]) -> Draft[Metadata]:
        setattr(draft, name, value)
        return draft

    with pytest.raises(Misused):
        await sessions.update(session.id, change)
    assert (await sessions.get(session.id)).version == 1


async def test_a_session_that_expires_while_it_is_updated_is_gone(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3: nothing revives it."""
    session = await sessions.create({"n": 0}, timeout=10)

    async def slowly(draft: Draft[Metadata]) -> Draft[Metadata]:
        clock.advance(10)
        return draft

    with pytest.raises(NotFound):
        await sessions.update(session.id, slowly)


async def test_stored_values_are_nobody_elses(sessions: Sessions) -> None:
    """R-MGR-12."""
    metadata: Metadata = {"items": [1]}
    session = await sessions.create(metadata)
    kept: list[Draft[Metadata]] = []

    def keep(draft: Draft[Metadata]) -> Draft[Metadata]:
        kept.append(draft)
        return draft

    await sessions.update(session.id, keep)
    metadata["items"].append(2)
    session.metadata["items"].append(3)
    kept[0].metadata["items"].append(4)
    (await sessions.get(session.id)).metadata["items"].append(5)
    assert (await sessions.get(session.id)).metadata == {"items": [1]}


async def test_a_terminated_session_only_shows(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-2, R-LIF-1."""
    session = await sessions.create({"n": 0}, timeout=100)
    clock.advance(50)
    ended = await sessions.terminate(session.id, "crashed")
    assert (ended.state, ended.reason, ended.version) == ("terminated", "crashed", 2)
    for act in (sessions.get, sessions.touch):
        with pytest.raises(NotFound):
            await act(session.id)
    with pytest.raises(NotFound):
        await sessions.update(session.id, increment)
    assert (await sessions.terminate(session.id, "again")).reason == "crashed"
    assert await sessions.ids() == []
    assert [each.id async for each in sessions.scan(state=None)] == [session.id]
    clock.advance(99)
    assert (await sessions.peek(session.id)).reason == "crashed"
    clock.advance(1)
    assert not await is_there(sessions, session.id)
    assert await sessions.cleanup_expired(late_s=0) == 1


async def test_what_is_terminated_does_not_stay_for_ever(sessions: Sessions, clock: ManualClock) -> None:
    """R-LIF-4."""
    session = await sessions.create(timeout=None)
    await sessions.terminate(session.id)
    clock.advance(86_400)
    assert await sessions.cleanup_expired(late_s=0) == 1


async def test_delete_is_idempotent_and_says_whether_it_was_there(sessions: Sessions) -> None:
    """R-MGR-5."""
    session = await sessions.create()
    assert await sessions.delete(session.id) is True
    assert await sessions.delete(session.id) is False
    with pytest.raises(NotFound):
        await sessions.get(session.id)


async def test_cleanup_deletes_the_expired_and_counts_them(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-5."""
    for at in range(30):
        await sessions.create(id=f"s{at}", timeout=10 if at % 3 else 100)
    clock.advance(5)
    await sessions.get("s1")
    clock.advance(5)
    assert await sessions.cleanup_expired(late_s=0) == 19
    assert await sessions.cleanup_expired(late_s=0) == 0
    assert len(await sessions.list()) == 11


async def test_expire_due_returns_what_it_deleted_each_once(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-5."""
    for at in range(10):
        await sessions.create({"n": at}, id=f"s{at}", timeout=10)
    clock.advance(10)
    pages = await asyncio.gather(*(sessions.expire_due(4) for _ in range(3)))
    gone = [session for page in [*pages, await sessions.expire_due(10)] for session in page]
    assert sorted(session.metadata["n"] for session in gone) == list(range(10))


async def test_a_late_sweep_leaves_what_others_may_have_used(sessions: Sessions, clock: ManualClock) -> None:
    """R-STO-5."""
    await sessions.create(id="s", timeout=10)
    clock.advance(12.9)
    assert await sessions.expire_due(late_s=3) == []
    assert not await is_there(sessions, "s")
    clock.advance(0.1)
    assert [session.id for session in await sessions.expire_due(late_s=3)] == ["s"]


async def test_a_late_sweep_shows_nothing_that_is_too_old(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3, R-STO-5."""
    await sessions.create(id="s", timeout=None, max_age=10)
    clock.advance(10)
    assert await sessions.expire_due(late_s=3) == []
    assert not await is_there(sessions, "s")
    with pytest.raises(NotFound):
        await sessions.take_over("s", 1, late_s=3)
    clock.advance(3)
    assert len(await sessions.expire_due(late_s=3)) == 1


async def test_a_sweep_expires_by_the_moment_it_is_given(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-5, R-STO-5: what expired since the caller told its uses waits for the next sweep."""
    await sessions.create(id="s", timeout=10)
    told_at = clock.now() + 9
    clock.advance(11)
    assert await sessions.expire_due(now=told_at) == []
    assert await sessions.expire_due(now=told_at + 3, late_s=3) == []
    assert len(await sessions.expire_due(now=told_at + 1)) == 1


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": -1}, {"late_s": -1}, {"late_s": math.nan}], ids=str)
async def test_a_sweep_without_bound_or_before_its_time_is_refused(
    sessions: Sessions, clock: ManualClock, arguments: Metadata
) -> None:
    """R-MGR-5."""
    await sessions.create(id="s", timeout=0)
    with pytest.raises(Misused):
        await sessions.expire_due(**arguments)
    assert await sessions.cleanup_expired(late_s=0) == 1


async def test_a_late_owner_adopts_what_the_one_before_may_have_used(sessions: Sessions, clock: ManualClock) -> None:
    """R-STO-5."""
    session = await sessions.create({"n": 0}, timeout=10)
    clock.advance(12.9)
    with pytest.raises(NotFound):
        await sessions.take_over(session.id, 1)
    adopted = await sessions.take_over(session.id, 1, late_s=3)
    assert (adopted.term, adopted.last_accessed) == (1, session.created_at)
    assert not await is_there(sessions, session.id)
    await sessions.record_use(session.id, clock.now(), timeout=10)
    assert (await sessions.get(session.id)).metadata == {"n": 0}
    clock.advance(13)
    with pytest.raises(NotFound):
        await sessions.take_over(session.id, 2, late_s=3)


async def test_a_clock_that_is_behind_lowers_no_access(url: str) -> None:
    """R-MGR-3."""
    ahead, behind = ManualClock(1000.0), ManualClock(900.0)
    async with SessionManager[Metadata].open(url, clock=ahead) as sessions:
        session = await sessions.create({"n": 0}, timeout=10)
        late: Sessions = SessionManager(sessions._store, clock=behind)
        assert (await late.get(session.id)).last_accessed == 1000.0
        assert (await late.update(session.id, increment)).last_accessed == 1000.0
        ahead.advance(10)
        assert await sessions.cleanup_expired(late_s=0) == 1
        assert not await is_there(late, session.id)


async def test_adopt_fences_off_the_owner_before(sessions: Sessions, clock: ManualClock) -> None:
    """R-CLU-2."""
    session = await sessions.create({"n": 0}, timeout=10)
    clock.advance(4)
    adopted = await sessions.take_over(session.id, 5)
    assert (adopted.term, adopted.version, adopted.last_accessed) == (5, 2, session.created_at)
    with pytest.raises(Moved):
        await sessions.take_over(session.id, 4)
    with pytest.raises(Moved):
        await sessions.update(session.id, increment, term=4)
    with pytest.raises(Moved):
        await sessions.terminate(session.id, "stale", term=4)
    with pytest.raises(Moved):
        await sessions.delete(session.id, term=4)
    assert (await sessions.update(session.id, increment, term=5)).metadata == {"n": 1}
    assert (await sessions.update(session.id, increment)).term == 5
    assert await sessions.delete(session.id, term=5)
    assert not await sessions.delete(session.id, term=5)


async def test_of_owners_that_race_the_highest_term_stays(sessions: Sessions) -> None:
    """R-CLU-2."""
    session = await sessions.create()
    await asyncio.gather(*(sessions.take_over(session.id, term) for term in (2, 9, 4)), return_exceptions=True)
    assert (await sessions.peek(session.id)).term == 9


async def test_ids_are_shown_only_in_part(sessions: Sessions) -> None:
    """R-SEC-2."""
    session = await sessions.create()
    assert session.id not in repr(session)
    with pytest.raises(Conflict) as conflict:
        await sessions.create(id=session.id)
    assert session.id not in str(conflict.value)
