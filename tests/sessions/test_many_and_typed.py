"""Many sessions at once, and metadata of a type."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from holdfast import Draft, Misused, Session, SessionManager, Unavailable
from holdfast.stores import MemoryStore, Store
from holdfast.stores.contract import Page, Query
from holdfast.testing import ManualClock

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


async def test_a_list_by_an_async_function_is_refused(sessions: Sessions) -> None:
    async def where(_: Session[Metadata]) -> bool:
        return False

    with pytest.raises(Misused, match="plain function"):
        await sessions.list(where)  # type: ignore[arg-type]  # that is the fault


@pytest.mark.parametrize("late_s", [-1, float("nan")])
async def test_a_cleanup_before_its_time_is_refused(sessions: Sessions, late_s: float) -> None:
    """R-MGR-5."""
    await sessions.create(id="s")
    with pytest.raises(Misused, match="late_s"):
        await sessions.cleanup_expired(late_s=late_s)
    assert await sessions.ids() == ["s"]


async def test_a_typed_session_begins_with_what_its_type_begins_with(url: str) -> None:
    """R-MGR-12."""
    async with SessionManager.open(url, metadata_type=Counted) as counted:
        assert (await counted.create()).metadata == Counted(0)
    async with SessionManager.open(url, metadata_type=Cart) as carts:
        with pytest.raises(Misused, match="pass the metadata"):
            await carts.create()


@dataclasses.dataclass
class Counted:
    n: int = 0


async def test_list_and_scan_filter(sessions: Sessions) -> None:
    """R-MGR-6."""
    await sessions.create({"n": 1}, id="a1", tags=["x"], owner="ada")
    await sessions.create({"n": 2}, id="a2", tags=["x", "y"], owner="bob")
    await sessions.create({"n": 3}, id="b1", tags=["y"], owner="ada")
    await sessions.terminate("b1")

    async def found(**query: Any) -> list[str]:
        return sorted([session.id async for session in sessions.scan(**query)])

    assert await found() == ["a1", "a2"]
    assert await found(prefix="a", tag="y") == ["a2"]
    assert await found(owner="ada") == ["a1"]
    assert await found(owner="ada", state=None) == ["a1", "b1"]
    assert await found(state="terminated") == ["b1"]
    assert [session.id for session in await sessions.list(lambda session: session.metadata["n"] == 2)] == ["a2"]


class Bare:
    """A store with nothing but the six methods."""

    def __init__(self, store: Store) -> None:
        self.get, self.put, self.delete = store.get, store.put, store.delete
        self.touch, self.scan, self.expire = store.touch, store.scan, store.expire


async def test_six_methods_are_enough_for_a_store(clock: ManualClock) -> None:
    """R-STO-1."""
    sessions: Sessions = SessionManager(Bare(MemoryStore()), clock=clock)
    await sessions.create(id="s", timeout=10)
    await sessions.create(id="t", timeout=20)
    clock.advance(10)
    assert await sessions.ids() == ["t"]
    with pytest.raises(Misused, match="journal"):
        _ = sessions.requests


async def test_ids_are_listed_over_many_pages(sessions: Sessions) -> None:
    """R-MGR-6."""
    names = [f"s{at:04}" for at in range(2500)]
    for name in names:
        await sessions.create(id=name)
    assert sorted(await sessions.ids()) == names


async def test_a_scan_continues_behind_the_last_session_seen(sessions: Sessions) -> None:
    """R-MGR-6."""
    names = [f"s{at:04}" for at in range(1200)]
    for name in names:
        await sessions.create(id=name)
    scan = sessions.scan()
    seen: list[Session[Metadata]] = [await anext(scan) for _ in range(700)]
    cursor = scan.cursor
    await sessions.delete(seen[-1].id)
    rest = [session.id async for session in sessions.scan(cursor=cursor)]
    assert sorted([session.id for session in seen] + rest) == names


@dataclasses.dataclass
class Cart:
    items: list[str]
    size: tuple[int, int] = (1, 2)


async def test_metadata_may_have_a_type(url: str) -> None:
    """R-MGR-12."""
    async with SessionManager[Cart].open(url, metadata_type=Cart) as carts:
        session = await carts.create(Cart(["tea"]))

        def add(draft: Draft[Cart]) -> Draft[Cart]:
            draft.metadata.items.append("milk")
            return draft

        await carts.update(session.id, add)
        assert (await carts.get(session.id)).metadata == Cart(["tea", "milk"])


class Slow(MemoryStore):
    """Reads a page in its own time, and fails when it is told to."""

    fails = False

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        await asyncio.sleep(0)
        if self.fails:
            raise Unavailable("down")
        return await super().scan(query, cursor=cursor, limit=limit)


async def test_one_task_at_a_time_asks_a_scan_for_the_next() -> None:
    """R-MGR-6: another one is refused, and nothing is passed over or seen twice."""
    store = Slow()
    sessions: Sessions = SessionManager(store)
    names = [f"s{at:04}" for at in range(1200)]
    for name in names:
        await sessions.create(id=name)
    scan = sessions.scan()
    store.fails = True
    with pytest.raises(Unavailable):
        await anext(scan)
    store.fails = False
    found: list[str] = []
    refused = 0
    while len(found) < len(names):
        for outcome in await asyncio.gather(anext(scan), anext(scan), return_exceptions=True):
            if isinstance(outcome, Misused):
                refused += 1
            elif isinstance(outcome, Session):
                found.append(outcome.id)
            else:
                assert isinstance(outcome, StopAsyncIteration)
    assert found == names
    assert refused
    with pytest.raises(StopAsyncIteration):
        await anext(scan)
