"""Whoever is cancelled in the middle of an act: it was done and told, or it was not done."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from holdfast import Capacity, NotFound, SessionManager, open_store
from holdfast.model.session import Record
from holdfast.sessions.session import Draft
from holdfast.stores import MemoryStore
from holdfast.testing import ManualClock
from tests.stores.engines import ENGINES

Sessions = SessionManager[dict[str, Any]]


class Late:
    """A store that does at once what it is told, and says so when it is let."""

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self.done = asyncio.Event()
        self.let = asyncio.Event()
        self.get, self.touch, self.scan = self._inner.get, self._inner.touch, self._inner.scan

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        await self._inner.put(record, expect=expect, durable=durable)
        await self._said()

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        deleted = await self._inner.delete(session_id, expect=expect, durable=durable)
        await self._said()
        return deleted

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        gone = await self._inner.expire(now, limit=limit)
        if gone:
            await self._said()
        return gone

    async def _said(self) -> None:
        self.done.set()
        await self.let.wait()


async def count_up(sessions: Sessions, session_id: str) -> None:
    def change(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
        draft.metadata["n"] += 1
        return draft

    await sessions.update(session_id, change, sync=False)


async def made(store: Late, clock: ManualClock) -> tuple[Sessions, Counter[str]]:
    sessions: Sessions = SessionManager(store, clock=clock, capacity=Capacity(sessions=3))
    told: Counter[str] = Counter()
    sessions.subscribe(lambda event: told.update([type(event).__name__]))
    store.let.set()
    await sessions.create({"n": 0}, id="s", timeout=10)
    store.let.clear()
    store.done.clear()
    return sessions, told


@pytest.mark.parametrize("act", ["create", "update", "terminate", "delete", "sweep"])
async def test_what_the_store_did_is_told_though_the_caller_was_cancelled(act: str, clock: ManualClock) -> None:
    """R-MGR-7: and counted, also against the capacity."""
    store = Late()
    sessions, told = await made(store, clock)
    acts: dict[str, tuple[Callable[[], Coroutine[Any, Any, object]], str]] = {
        "create": (lambda: sessions.create({"n": 0}, id="t"), "SessionCreated"),
        "update": (lambda: count_up(sessions, "s"), "SessionUpdated"),
        "terminate": (lambda: sessions.terminate("s"), "SessionStateChanged"),
        "delete": (lambda: sessions.delete("s"), "SessionDeleted"),
        "sweep": (lambda: sessions.cleanup_expired(late_s=0), "SessionExpired"),
    }
    if act == "sweep":
        clock.advance(10)
    caller = asyncio.ensure_future(acts[act][0]())
    await store.done.wait()
    caller.cancel()
    store.let.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await sessions.close()
    assert told == Counter(["SessionCreated"]) + Counter([acts[act][1]])
    left = 1 if act == "create" else 2 if act == "update" else 3
    for _ in range(left):
        await sessions.create()
    with pytest.raises(Exception, match="3 sessions"):
        await sessions.create()


@pytest.mark.parametrize("kind", ["memory", "sqlite", *ENGINES])
async def test_every_version_that_is_stored_was_told_of(kind: str, tmp_path: Any) -> None:
    """R-MGR-7: of 300 updates, most of them cancelled somewhere on their way."""
    chance = random.Random(5)
    url = "memory://" if kind == "memory" else f"{kind}:///{tmp_path}/sessions.db"
    async with open_store(url) as store:
        sessions: Sessions = SessionManager(store)
        told: list[int] = []
        sessions.subscribe(lambda event: told.append(event.session.version))
        await sessions.create({"n": 0}, id="s")
        for _ in range(300):
            updates = [asyncio.ensure_future(count_up(sessions, "s")) for _ in range(2)]
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            updates[0].cancel()
            await asyncio.gather(*updates, return_exceptions=True)
        session = await sessions.peek("s")
        await sessions.close()
    assert told == list(range(1, session.version + 1))
    assert session.version == session.metadata["n"] + 1 > 300


async def test_a_session_whose_creation_was_cancelled_is_there_or_not(tmp_path: Any) -> None:
    """R-MGR-8: the room is that of the sessions that are there."""
    chance = random.Random(6)
    async with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
        sessions: Sessions = SessionManager(store, capacity=Capacity(sessions=60))
        told: list[str] = []
        sessions.subscribe(lambda event: told.append(event.session.id))
        creating = [asyncio.ensure_future(sessions.create(id=f"s{at}")) for at in range(40)]
        for each in chance.sample(creating, 30):
            await asyncio.sleep(0)
            each.cancel()
        await asyncio.gather(*creating, return_exceptions=True)
        there = await sessions.ids()
        for _ in range(60 - len(there)):
            await sessions.create()
        with pytest.raises(Exception, match="60 sessions"):
            await sessions.create()
        with pytest.raises(NotFound):
            await sessions.get("nobody")
        await sessions.close()
    assert sorted(there) == sorted(told[: len(there)])
