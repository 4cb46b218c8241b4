"""What holds whatever is stored and written meanwhile."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import Misused, NotFound, SessionManager, open_store
from holdfast.stores import Query, Store
from holdfast.testing import ManualClock
from holdfast.testing.records import record_of
from tests.codec.storable import HASHABLE, VALUES, same

Metadata = dict[str, Any]
NAMES: Final = [f"s{at}" for at in range(12)]
WRITES: Final = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "touch", "update"]), st.sampled_from(NAMES)), max_size=4
)
FIXED: Final = [HealthCheck.function_scoped_fixture]


@asynccontextmanager
async def fresh(url: str, made: list[int]) -> AsyncIterator[Store]:
    """Open a store that no example before has written."""
    made.append(0)
    async with open_store(url.replace(".db", f"-{len(made)}.db")) as store:
        yield store


@pytest.fixture
def made() -> list[int]:
    return []


@settings(max_examples=60, deadline=None, suppress_health_check=FIXED)
@given(
    before=st.lists(st.sampled_from(NAMES), unique=True),
    between=st.lists(WRITES, max_size=8),
    limit=st.integers(1, 5),
    by_record=st.booleans(),
)
async def test_a_scan_sees_what_stays_exactly_once(
    url: str, made: list[int], before: list[str], between: list[Any], limit: int, by_record: bool
) -> None:
    """R-MGR-6: whatever is written between its pages, and whether it goes on behind a page or behind a record."""
    async with fresh(url, made) as store:
        for name in before:
            await store.put(record_of(name), expect=0)
        stays, seen, cursor = set(before), list[str](), None
        for writes in [*between, *[[]] * 100]:
            page = await store.scan(Query(), cursor=cursor, limit=limit)
            seen += [record.id for record in page.records][: 1 if by_record else None]
            cursor = page.cursors[0] if by_record and page.cursors else page.cursor
            if cursor is None:
                break
            for act, name in writes:
                if await _write(store, act, name):
                    stays.discard(name)
        assert cursor is None
        assert stays <= set(seen)
        assert len([name for name in seen if name in stays]) == len(stays)


async def _write(store: Store, act: str, name: str) -> bool:
    """Do one act, and return whether the record did not stay throughout."""
    record = await store.get(name)
    if act == "delete":
        return await store.delete(name)
    if act == "put" and record is None:
        await store.put(record_of(name), expect=0)
        return True
    if act == "update" and record is not None:
        await store.put(record_of(name, version=record.version + 1, owner="ada"), expect=record.version)
    elif act == "touch":
        await store.touch(name, record_of(name).last_accessed + 5)
    return False


@settings(max_examples=80, deadline=None, suppress_health_check=FIXED)
@given(metadata=st.dictionaries(HASHABLE, VALUES, max_size=4))
async def test_metadata_comes_back_exactly_and_is_nobody_elses(url: str, made: list[int], metadata: Metadata) -> None:
    """R-MGR-12: in every store, through create, update and the change of what was passed and returned."""
    async with fresh(url, made) as store:
        sessions: SessionManager[Metadata] = SessionManager(store)
        wanted = copy.deepcopy(metadata)
        session = await sessions.create(metadata)
        metadata["changed"] = metadata
        found = (await sessions.get(session.id)).metadata
        assert same(found, wanted)
        found.clear()
        updated = await sessions.update(session.id, lambda draft: draft)
        assert same(updated.metadata, wanted)

        def replace(draft: Any) -> Any:
            draft.metadata = {"inner": wanted}
            return draft

        await sessions.update(session.id, replace)
        assert same((await sessions.peek(session.id)).metadata, {"inner": wanted})


class Price:
    """Nothing that can be stored."""


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"cart": {"items": [0, 1, 2, {"price": 1j}]}}, r"metadata\.cart\.items\[3\]\.price: complex is not storable"),
        ({"price": Price()}, r"metadata\.price: Price is not storable"),
        ({"a": {"b": {1: [Price]}}}, r"metadata\.a\.b\[1\]\[0\]: type is not storable"),
        ({"text": "\ud800"}, r"metadata\.text: a str with a lone surrogate"),
        ({"much": "x" * 1000}, "1000|1013|bytes when encoded"),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_its_path_in_every_store_alike(
    url: str, metadata: Metadata, path: str
) -> None:
    """R-MGR-12."""
    async with open_store(url) as store:
        sessions: SessionManager[Metadata] = SessionManager(store, metadata_bytes_max=500)
        with pytest.raises(Misused, match=path):
            await sessions.create(metadata)
        assert await sessions.ids() == []
        session = await sessions.create({"n": 1})

        def replace(draft: Any) -> Any:
            draft.metadata = metadata
            return draft

        with pytest.raises(Misused, match=path):
            await sessions.update(session.id, replace)
        assert (await sessions.peek(session.id)).metadata == {"n": 1}


@pytest.mark.parametrize("bound", [0, -1, 1.5, None])
def test_a_bound_of_metadata_that_makes_no_sense_is_refused(bound: Any) -> None:
    with pytest.raises(Misused, match="metadata_bytes_max"):
        SessionManager[Metadata](None, metadata_bytes_max=bound)  # type: ignore[arg-type]  # it is refused before


@settings(max_examples=40, deadline=None, suppress_health_check=FIXED)
@given(session_id=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
async def test_an_id_is_any_unicode_and_nothing_is_normalised(url: str, made: list[int], session_id: str) -> None:
    """R-HIB-3."""
    async with fresh(url, made) as store:
        sessions: SessionManager[Metadata] = SessionManager(store, clock=ManualClock())
        assert (await sessions.create(id=session_id)).id == session_id
        assert await sessions.ids() == [session_id]
        others = {session_id.swapcase(), session_id + " ", session_id[1:], *_other_forms(session_id)} - {session_id}
        for other in others:
            with pytest.raises(NotFound):
                await sessions.get(other)
        assert [session.id async for session in sessions.scan(prefix=session_id[:3])] == [session_id]


def _other_forms(text: str) -> set[str]:
    return {unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")}
