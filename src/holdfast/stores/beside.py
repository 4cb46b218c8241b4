"""Sessions that shall never be written anywhere, kept in memory beside a store whose sessions are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from ..model.errors import HoldfastError, Misused, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from .contract import (
    Batch,
    Changes,
    Described,
    Dumped,
    DumpPage,
    Entry,
    Feed,
    FeedBounds,
    IdPage,
    Journal,
    JournalBounds,
    Listing,
    OpenStream,
    Page,
    Past,
    Query,
    Store,
    StoreInfo,
)
from .memory import MemoryStore

_HERE: Final = "here:"
_THERE: Final = "there"  # where the main store begins


class BesideStore:
    """One store made of two: `main`, and memory for the records that `hold` was given.

    Implements `Store`, and `Listing`, `Described`, `Journal` and `Dumped` as far as `main` does.
    """

    def __init__(self, main: Store) -> None:
        self._main = main
        self._here = MemoryStore()
        self._held: set[str] = set()
        self._holding: set[str] = set()  # while the main store is asked for them
        self._putting: Counter[str] = Counter()

    @staticmethod
    def around(main: Store) -> BesideStore:
        """Return one with every ability that `main` and memory both have."""
        if isinstance(main, MemoryStore):
            return ResidentBesideStore(main)
        return FeedBesideStore(main, main) if isinstance(main, Feed) else BesideStore(main)

    async def hold(self, record: Record) -> None:
        """Keep a new record in memory only.

        Raises:
            VersionConflict: Its id is taken, here or there. Nothing was changed.
        """
        self._refuse_if_held(record.id)
        if record.id in self._putting:
            raise _taken(record.id)
        self._holding.add(record.id)
        try:
            taken = await self._main.get(record.id) is not None
        finally:
            self._holding.discard(record.id)
        if taken:
            raise _taken(record.id)
        self._held.add(record.id)
        await self._here.put(record, expect=0)

    def holds(self, session_id: str) -> bool:
        """Tell whether the record is one that is kept in memory only."""
        return session_id in self._held

    async def get(self, session_id: str) -> Record | None:
        return await self._of(session_id).get(session_id)

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        if expect:
            await self._of(record.id).put(record, expect=expect, durable=durable)
            return
        self._refuse_if_held(record.id)
        self._putting[record.id] += 1
        try:
            await self._main.put(record, expect=0, durable=durable)
        finally:
            self._putting -= Counter((record.id,))  # which leaves out what has become 0

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        deleted = await self._of(session_id).delete(session_id, expect=expect, durable=durable)
        if deleted:
            self._held.discard(session_id)
        return deleted

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        await self._of(session_id).touch(session_id, at, within_s=within_s)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        here, inner = _place(cursor)
        if not here:
            return await self._main.scan(query, cursor=inner, limit=limit)
        page = await self._here.scan(query, cursor=inner, limit=limit)
        records, cursors = page.records, [_HERE + each for each in page.cursors]
        if page.cursor is not None or len(records) == limit:
            return Page(records, cursors, _after_here(page.cursor))
        rest = await self.scan(query, cursor=_THERE, limit=limit - len(records))
        return Page(records + rest.records, cursors + rest.cursors, rest.cursor)

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        gone = await self._here.expire(now, limit=limit)
        self._held.difference_update(record.id for record in gone)
        return gone or await self._main.expire(now, limit=limit)

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        here, inner = _place(cursor)
        if not here:
            return await self._list_main(now, inner, limit)
        page = await self._here.list_ids(now, cursor=inner, limit=limit)
        if page.cursor is not None or len(page.ids) == limit:
            return IdPage(page.ids, _after_here(page.cursor))
        rest = await self.list_ids(now, cursor=_THERE, limit=limit - len(page.ids))
        return IdPage(page.ids + rest.ids, rest.cursor)

    async def _list_main(self, now: float, cursor: str | None, limit: int) -> IdPage:
        if isinstance(self._main, Listing):
            return await self._main.list_ids(now, cursor=cursor, limit=limit)
        scanned = await self._main.scan(Query(state="active"), cursor=cursor, limit=limit)
        return IdPage([record.id for record in scanned.records if record.deadline > now], scanned.cursor)

    async def info(self) -> StoreInfo:
        return await self._described().info()

    async def count(self, now: float) -> dict[str, int]:
        here, there = await self._here.count(now), await self._described().count(now)
        return {state: here.get(state, 0) + there.get(state, 0) for state in here.keys() | there.keys()}

    async def next_term(self) -> int:
        return await self._journal().next_term()

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        here = [batch for batch in batches if batch.session_id in self._held]
        there = [batch for batch in batches if batch.session_id not in self._held]
        outcomes = dict(zip(map(id, here), await self._here.append(here), strict=True)) if here else {}
        if there:
            outcomes |= zip(map(id, there), await self._journal().append(there), strict=True)
        return [outcomes[id(batch)] for batch in batches]

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        return await self._journal_of(session_id).read(session_id, stream, after=after, limit=limit)

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        return await self._journal_of(session_id).unfinished(session_id)

    async def origins(self, session_id: str, first: int, last: int) -> set[int]:
        return await self._journal_of(session_id).origins(session_id, first, last)

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        return await self._here.trim(bounds, now) + await self._journal().trim(bounds, now)

    def dump(self, *, journal: bool = True) -> AbstractAsyncContextManager[AsyncIterator[DumpPage]]:
        return self._dumped().dump(journal=journal)

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        if self._held:
            raise Misused(f"{len(self._held)} sessions are kept in memory already; a store is loaded while it is empty")
        await self._dumped().load(pages)

    def _refuse_if_held(self, session_id: str) -> None:
        if session_id in self._held or session_id in self._holding:
            raise _taken(session_id)

    def _of(self, session_id: str) -> Store:
        return self._here if session_id in self._held else self._main

    def _journal_of(self, session_id: str) -> Journal:
        return self._here if session_id in self._held else self._journal()

    def _journal(self) -> Journal:
        if not isinstance(self._main, Journal):
            raise Misused(f"{type(self._main).__name__} keeps no journal; use a store that implements Journal")
        return self._main

    def _dumped(self) -> Dumped:
        if not isinstance(self._main, Dumped):
            raise Misused(f"{type(self._main).__name__} cannot be dumped; use a store that implements Dumped")
        return self._main

    def _described(self) -> Described:
        if not isinstance(self._main, Described):
            raise Misused(f"{type(self._main).__name__} does not say what it is; implement Described")
        return self._main


class ResidentBesideStore(BesideStore):
    """The same where the main store is `Resident`: then so is this."""

    def __init__(self, main: MemoryStore) -> None:
        super().__init__(main)
        self._main: MemoryStore = main

    def get_now(self, session_id: str) -> Record | None:
        return self._resident(session_id).get_now(session_id)

    def put_now(self, record: Record, expect: int) -> None:
        self._resident(record.id).put_now(record, expect)

    def find_now(self, session_id: str, now: float) -> tuple[Record, float] | None:
        return self._resident(session_id).find_now(session_id, now)

    def use_now(self, session_id: str, now: float) -> Record | None:
        return self._resident(session_id).use_now(session_id, now)

    def _resident(self, session_id: str) -> MemoryStore:
        return self._here if isinstance(session_id, str) and session_id in self._held else self._main


def _taken(session_id: str) -> VersionConflict:
    return VersionConflict(f"the id {redacted(session_id)} is taken")


class FeedBesideStore(BesideStore):
    """The same where the main store keeps a feed: then so does this. What is held is not in it."""

    def __init__(self, main: Store, feed: Feed) -> None:
        super().__init__(main)
        self._feed = feed

    async def changes(self, *, after: str | None = None, limit: int = 500) -> Changes:
        return await self._feed.changes(after=after, limit=limit)

    async def position(self) -> str:
        return await self._feed.position()

    async def state_at(self, at: float, *, changed: bool = False, cursor: str | None = None, limit: int = 500) -> Past:
        return await self._feed.state_at(at, changed=changed, cursor=cursor, limit=limit)

    async def trim_changes(self, bounds: FeedBounds, now: float) -> int:
        return await self._feed.trim_changes(bounds, now)


def _place(cursor: str | None) -> tuple[bool, str | None]:
    """Return whether a cursor is among what is kept here, and what it is there; all of that comes first.

    Behind it the cursors are the main store's own, so that they go on in other processes too.
    """
    if cursor is None or cursor.startswith(_HERE):
        return True, None if cursor is None else cursor.removeprefix(_HERE)
    return False, None if cursor == _THERE else cursor


def _after_here(inner: str | None) -> str:
    return _THERE if inner is None else _HERE + inner
