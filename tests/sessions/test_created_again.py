"""A session that is created under the id of one that is gone is another one, whatever others remember of the first."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import Conflict, SessionCreated, SessionExpired, SessionManager
from holdfast.model.session import Record
from holdfast.sessions.session import Draft
from holdfast.stores import MemoryStore, Store
from holdfast.stores.contract import Page, Query
from holdfast.testing import ManualClock

Sessions = SessionManager[dict[str, Any]]


class DeletingTogether:
    """A store that waits, before it deletes, until two want it to."""

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self._both = asyncio.Barrier(2)
        self.get, self.put, self.touch = self._inner.get, self._inner.put, self._inner.touch

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        await self._both.wait()
        return await self._inner.delete(session_id, expect=expect, durable=durable)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        return await self._inner.scan(query, cursor=cursor, limit=limit)

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        return await self._inner.expire(now, limit=limit)


async def test_of_two_who_want_the_id_of_an_expired_session_one_gets_it(clock: ManualClock) -> None:
    """R-MGR-1: the other one may not take the new session for the expired one."""
    store: Store = DeletingTogether()
    sessions: Sessions = SessionManager(store, clock=clock)
    told: list[object] = []
    sessions.subscribe(lambda event: told.append(type(event)))
    await sessions.create({"by": "before"}, id="s", timeout=10)
    clock.advance(20)
    outcomes = await asyncio.gather(
        *(sessions.create({"by": name}, id="s") for name in ("a", "b")), return_exceptions=True
    )
    (created,) = (each for each in outcomes if not isinstance(each, BaseException))
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [Conflict]
    assert (await sessions.get("s")).metadata == created.metadata
    await sessions.close()
    assert told == [SessionCreated, SessionExpired, SessionCreated]


async def test_an_update_does_not_write_to_a_session_created_meanwhile_what_it_read_of_the_one_before(
    sessions: Sessions, clock: ManualClock
) -> None:
    """R-MGR-4: it is done again with the one that is there."""
    await sessions.create({"of": "first"}, id="s", tags=["first"])
    seen: list[str] = []

    async def change(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
        seen.append(draft.metadata["of"])
        if len(seen) == 1:
            await sessions.delete("s")
            clock.advance(1)
            await sessions.create({"of": "second"}, id="s")
        draft.metadata["changed"] = True
        return draft

    updated = await sessions.update("s", change)
    assert seen == ["first", "second"]
    assert (updated.metadata, updated.tags) == ({"of": "second", "changed": True}, frozenset())
    assert (await sessions.get("s")).metadata == updated.metadata
