"""What holds of the feed whatever is done: it rebuilds what is stored, and the past is what a plain dict remembers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import (
    Conflict,
    Misused,
    NotFound,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionManager,
    open_store,
)
from holdfast.model.session import Record
from holdfast.sessions import Retention
from holdfast.stores import Feed, FeedBounds, Query, Store
from holdfast.testing import ManualClock
from tests.stores.engines import ENGINES

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]

HERE: Final = Path(__file__).parent
BOUNDS: Final = FeedBounds(age_s_max=120.0)
ACTS: Final = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "own", "end", "delete", "sweep", "wait"]),
        st.sampled_from("abc"),
    ),
    min_size=20,
    max_size=40,
)
FIXED: Final = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(params=["sqlite", *ENGINES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/sessions.db"


@pytest.fixture
def made() -> list[int]:
    return []


@asynccontextmanager
async def fresh(url: str, made: list[int], clock: ManualClock) -> AsyncIterator[tuple[Store, Sessions]]:
    """Open a store that no example before has written."""
    made.append(0)
    async with open_store(url.replace(".db", f"-{len(made)}.db"), clock=clock) as store:
        yield store, SessionManager(store, clock=clock, retention=Retention(feed=BOUNDS))


async def do(sessions: Sessions, clock: ManualClock, act: str, name: str, at: int) -> None:
    """Do one act a second after the one before; what it is refused it has not done."""
    clock.advance(1.0)
    try:
        if act == "create":
            await sessions.create({"at": at}, id=name, timeout=None if name == "a" else 100.0)
        elif act == "update":
            await sessions.update(name, lambda draft: (draft.metadata.update(at=at), draft)[1])
        elif act == "own":
            await sessions.take_over(name, at)
        elif act == "end":
            await sessions.terminate(name, "done")
        elif act == "delete":
            await sessions.delete(name)
        elif act == "sweep":
            await sessions.cleanup_expired(late_s=0)
        else:
            clock.advance(50.0)
            if name != "c":
                await sessions.trim_feed()
    except (Conflict, NotFound):
        pass


async def stored_in(store: Store) -> dict[str, Record]:
    """Return what is written, without the accesses since."""
    return {record.id: without_use(record) for record in (await store.scan(Query())).records}


def without_use(record: Record) -> Record:
    return Record(**{name: getattr(record, name) for name in Record.__struct_fields__} | {"last_accessed": 0.0})


async def past_of(store: Feed, at: float) -> dict[str, Record]:
    found: dict[str, Record] = {}
    cursor: str | None = None
    while True:
        page = await store.state_at(at, cursor=cursor, limit=2)
        for record in page.records:
            assert found.setdefault(record.id, without_use(record)) == without_use(record)
        cursor = page.cursor
        if cursor is None:
            return found


@settings(max_examples=50, deadline=None, suppress_health_check=FIXED)
@given(acts=ACTS)
async def test_the_past_is_what_was_remembered(url: str, made: list[int], acts: list[tuple[str, str]]) -> None:
    """R-MGR-10: of every moment that is not older than the bound, however often the feed was trimmed."""
    clock = ManualClock()
    async with fresh(url, made, clock) as (store, sessions):
        assert isinstance(store, Feed)
        remembered: dict[float, dict[str, Record]] = {}
        for at, (act, name) in enumerate(acts, 1):
            await do(sessions, clock, act, name, at)
            remembered[clock.now()] = await stored_in(store)
        for moment, was in remembered.items():
            if moment >= clock.now() - BOUNDS.age_s_max:
                assert await past_of(store, moment) == was
            else:
                try:
                    assert await past_of(store, moment) == was
                except Misused as error:
                    assert "earliest" in str(error)


@settings(max_examples=50, deadline=None, suppress_health_check=FIXED)
@given(acts=ACTS, stops=st.sets(st.integers(0, 60)))
async def test_events_rebuild_what_is_stored(
    url: str, made: list[int], acts: list[tuple[str, str]], stops: set[int]
) -> None:
    """R-MGR-7: each once, however often the follower is stopped and another one goes on from its cursor."""
    clock = ManualClock()
    async with fresh(url, made, clock) as (store, sessions):
        for at, (act, name) in enumerate(acts, 1):
            await do(sessions, clock, act, "c" if act == "wait" else name, at)
        rebuilt: dict[str, tuple[float, int]] = {}
        follower = sessions.follow(wait=False)
        seen = 0
        while (event := await anext(follower, None)) is not None:
            take(rebuilt, event)
            seen += 1
            if seen in stops:
                follower = sessions.follow(follower.cursor, wait=False)
        stored = await stored_in(store)
        assert rebuilt == {name: (record.created_at, record.version) for name, record in stored.items()}


def take(rebuilt: dict[str, tuple[float, int]], event: SessionEvent[Metadata]) -> None:
    """Do to the dict what the event says; it must follow from what was there."""
    session = event.session
    if isinstance(event, SessionCreated):
        assert session.id not in rebuilt
        rebuilt[session.id] = (session.created_at, session.version)
    elif isinstance(event, (SessionDeleted, SessionExpired)):
        assert rebuilt.pop(session.id) == (session.created_at, session.version)
    else:
        assert rebuilt[session.id] == (session.created_at, session.version - 1)
        rebuilt[session.id] = (session.created_at, session.version)


async def test_a_follower_sees_all_that_several_processes_write(tmp_path: Path) -> None:
    """R-MGR-7: while they do, in the order of each session."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    async with SessionManager[Metadata].open(url) as sessions:
        command = (sys.executable, str(HERE / "changing_program.py"), url)
        programs = [await asyncio.create_subprocess_exec(*command, str(at)) for at in range(2)]
        rebuilt: dict[str, tuple[float, int]] = {}
        ended: set[str] = set()
        async with asyncio.timeout(60):
            async for event in sessions.follow():
                take(rebuilt, event)
                if event.session.id.startswith("end") and isinstance(event, SessionCreated):
                    ended.add(event.session.id)
                if len(ended) == 2:
                    break
        assert [await program.wait() for program in programs] == [0, 0]
        stored = {session.id: (session.created_at, session.version) async for session in sessions.scan()}
        assert rebuilt == stored
        assert rebuilt["shared"][1] > 2
