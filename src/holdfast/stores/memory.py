"""A store in this process's memory: the fastest, and gone with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from ..model.errors import HoldfastError, Misused, Moved, NotFound, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from .contract import Batch, Entry, IdPage, JournalBounds, OpenStream, Page, Query
from .deadlines import Deadlines, Kept
from .memory_journal import MemoryJournal

_replaced: Final = msgspec.structs.replace

_CHUNK: Final = 1024  # records created one after the other lie together, so that a scan can continue anywhere
_LOOKED_AT_A_PAGE: Final = 4000  # records, or empty chunks: about 1 ms
_DELETED_A_SLICE: Final = 500
_EMPTY: Final[dict[int, str]] = {}


class MemoryStore:
    """Keeps records and journals in memory; implements `Store`, `Listing`, `Journal`. Nothing outlives the process."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._created = 0
        self._chunks: dict[int, dict[int, str]] = {}
        self._deadlines = Deadlines(self._kept)
        self._journal = MemoryJournal()
        self._term = 0

    async def get(self, session_id: str) -> Record | None:
        kept = self._kept.get(session_id)
        return None if kept is None else kept.record

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        kept = self._kept.get(record.id)
        if kept is None:
            if expect != 0:
                raise VersionConflict(f"session {redacted(record.id)} is gone; version {expect} was expected")
            kept = self._create(record)
        else:
            stored = kept.record
            if stored.term > record.term:
                raise Moved(f"session {redacted(record.id)} has term {stored.term}; the write came from {record.term}")
            if stored.version != expect:
                raise VersionConflict(
                    f"session {redacted(record.id)} has version {stored.version}; version {expect} was expected"
                )
            if record.last_accessed < stored.last_accessed:
                record = _replaced(record, last_accessed=stored.last_accessed)
            kept.record = record
        self._deadlines.file(kept)

    async def delete(self, session_id: str, *, expect: int | None = None, durable: bool = True) -> bool:
        kept = self._kept.get(session_id)
        if kept is None or (expect is not None and kept.record.version != expect):
            return False
        self._remove(kept)
        return True

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        kept = self._kept.get(session_id)
        if kept is not None and kept.record.last_accessed < at:
            kept.record = _replaced(kept.record, last_accessed=at)
            self._deadlines.accessed(kept)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        at = _number_from(cursor)
        # A page may be read without waiting for anything; so the others get their turn here.
        await asyncio.sleep(0)
        page = Page([], [], None)
        left = _LOOKED_AT_A_PAGE
        while left > 0:
            if at >= self._created:
                return page
            chunk = self._chunks.get(at // _CHUNK, _EMPTY)
            left -= len(chunk) + 1
            for number, session_id in chunk.items():
                if number < at:
                    continue
                record = self._kept[session_id].record
                if query.matches(record):
                    page.records.append(record)
                    page.cursors.append(str(number + 1))
                    if len(page.records) >= limit:
                        return Page(page.records, page.cursors, page.cursors[-1])
            at = (at // _CHUNK + 1) * _CHUNK
        return Page(page.records, page.cursors, str(at))

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        found = await self._deadlines.due(now, limit)
        gone: list[Record] = []
        for start in range(0, len(found), _DELETED_A_SLICE):
            for record in found[start : start + _DELETED_A_SLICE]:
                kept = self._kept.get(record.id)
                if kept is not None and kept.record is record:
                    self._remove(kept)
                    gone.append(record)
            await asyncio.sleep(0)
        return gone

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        page = await self.scan(Query(state="active"), cursor=cursor, limit=limit)
        return IdPage([record.id for record in page.records if record.deadline > now], page.cursor)

    async def next_term(self) -> int:
        self._term += 1
        return self._term

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        return [self._append(*batch) for batch in batches]

    def _append(self, session_id: str, term: int, entries: Sequence[Entry]) -> HoldfastError | None:
        kept = self._kept.get(session_id)
        if kept is None:
            return NotFound(f"session {redacted(session_id)} is not there")
        if kept.record.term > term:
            return Moved(f"session {redacted(session_id)} has term {kept.record.term}; the entries came from {term}")
        self._journal.append(session_id, entries)
        return None

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        return self._journal.read(session_id, stream, after, limit)

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        return self._journal.unfinished(session_id)

    async def origins(self, session_id: str, first: int, last: int) -> set[int]:
        return self._journal.origins(session_id, first, last)

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        return await self._journal.trim(bounds, now)

    def _remove(self, kept: Kept) -> None:
        del self._kept[kept.record.id]
        self._deadlines.forget(kept)
        self._journal.forget(kept.record.id)
        chunk = self._chunks[kept.number // _CHUNK]
        del chunk[kept.number]
        if not chunk:
            del self._chunks[kept.number // _CHUNK]

    def _create(self, record: Record) -> Kept:
        number = self._created
        self._created += 1
        kept = self._kept[record.id] = Kept(record, number)
        self._chunks.setdefault(number // _CHUNK, {})[number] = record.id
        return kept


def _number_from(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Misused("this is not a cursor of a memory store; pass one that its scan returned")
    return int(cursor)
