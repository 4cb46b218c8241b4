"""A store in this process's memory: the fastest, and gone with it."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Final

from ..model.errors import Corrupt, HoldfastError, Misused, Moved, NotFound, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from .contract import (
    Batch,
    DumpedEntry,
    DumpPage,
    Entry,
    IdPage,
    JournalBounds,
    OpenStream,
    Page,
    Query,
    StoreInfo,
)
from .deadlines import EXPIRED, Deadlines, Kept, Run
from .memory_dump import MemoryDump, Whole
from .memory_journal import MemoryJournal

_RUN: Final = 256  # records created one after the other lie together, so that a scan can continue anywhere
_PLACES: Final = tuple(range(_RUN))  # each number once, however many records have it
_LOOKED_AT_A_PAGE: Final = 4000  # records, or eight times as many places without one: about 1 ms
_LISTED_A_PAGE: Final = 8000  # places
_DELETED_A_SLICE: Final = 500  # sessions, or eight times as many entries of their journals
_COUNTED_A_SLICE: Final = 2000


_number_of: Final = attrgetter("number")


class MemoryStore:
    """Keeps records and journals in memory, which nothing outlives.

    Implements `Store`, `Resident`, `Listing`, `Described`, `Journal` and `Dumped`.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._runs: list[Run] = [Run(0)]
        self._ended: dict[str, None] = {}
        self._deadlines = Deadlines()
        self._journal = MemoryJournal()
        self._term = 0
        self._dumps: list[MemoryDump] = []

    def get_now(self, session_id: str) -> Record | None:
        try:
            kept = self._kept.get(session_id)
        except TypeError:  # it is nothing that could be an id
            return None
        return None if kept is None else kept.merged()

    def find_now(self, session_id: str, now: float) -> tuple[Record, float] | None:
        kept = self._alive(session_id, now)
        return None if kept is None else (kept.record, kept.used_at)

    def use_now(self, session_id: str, now: float) -> Record | None:
        kept = self._alive(session_id, now)
        if kept is None:
            return None
        self._use(kept, now)
        return kept.record

    def put_now(self, record: Record, expect: int) -> None:
        kept = self._kept.get(record.id)
        if kept is None:
            if expect != 0:
                raise VersionConflict(f"session {redacted(record.id)} is gone; version {expect} was expected")
            self._deadlines.file(self._create(record))
            return
        stored = kept.record
        if stored.term > record.term:
            raise Moved(f"session {redacted(record.id)} has term {stored.term}; the write came from {record.term}")
        if stored.version != expect:
            raise VersionConflict(
                f"session {redacted(record.id)} has version {stored.version}; version {expect} was expected"
            )
        if stored.created_at != record.created_at:
            raise VersionConflict(f"session {redacted(record.id)} is another one, created later under the same id")
        if self._dumps:
            self._before_change(record.id)
        was_expired = kept.slot == EXPIRED
        if was_expired:
            self._deadlines.forget(kept)
        kept.record = record
        at = record.last_accessed
        kept.used_at = at if at > kept.used_at else kept.used_at
        if record.state != "active":
            self._ended[record.id] = None
        if was_expired or record.timeout != stored.timeout or record.max_age != stored.max_age:
            self._deadlines.file(kept)

    async def get(self, session_id: str) -> Record | None:
        return self.get_now(session_id)

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        self.put_now(record, expect)

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        kept = self._kept.get(session_id)
        if kept is None or (expect is not None and not kept.record.is_version_of(expect)):
            return False
        self._remove(kept)
        return True

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        kept = self._kept.get(session_id)
        if kept is not None:
            self._use(kept, at)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        at = _place_from(cursor)
        # A page may be read without waiting for anything; so the others get their turn here.
        await asyncio.sleep(0)
        page = Page([], [], None)
        left = _LOOKED_AT_A_PAGE
        for run in self._runs_from(at):
            if left <= 0:
                return Page(page.records, page.cursors, str(run.number * _RUN))
            left -= run.live + len(run.ids) // 8 + 1
            base = run.number * _RUN
            for place, session_id in enumerate(run.ids):
                if session_id is None or base + place < at:
                    continue
                record = self._kept[session_id].merged()
                if query.matches(record):
                    page.records.append(record)
                    page.cursors.append(str(base + place + 1))
                    if len(page.records) >= limit:
                        return Page(page.records, page.cursors, page.cursors[-1])
        return page

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        await asyncio.sleep(0)
        await self._deadlines.look(now, limit)
        gone: list[Record] = []
        while names := list(islice(self._deadlines.expired, min(limit - len(gone), _DELETED_A_SLICE))):
            left = _DELETED_A_SLICE
            for name in names:
                kept = self._kept[name]
                if kept.deadline <= now:
                    left -= 1 + self._journal.size(name) // 8
                    gone.append(self._remove(kept))
                    if left <= 0:
                        break
                else:  # it was found by a clock that is ahead of the caller's
                    self._deadlines.file(kept)
            if len(gone) >= limit or not self._deadlines.expired or (left <= 0 and limit <= _DELETED_A_SLICE):
                break  # without a pause, in which what takes a free id would be told of before what has left it
            await asyncio.sleep(0)
        return gone

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        at = _place_from(cursor)
        await self._deadlines.look(now)
        await asyncio.sleep(0)
        ids: list[str] = []
        left = min(limit, _LISTED_A_PAGE)
        for run in self._runs_from(at):
            skipped = max(at - run.number * _RUN, 0)
            taken = run.ids[skipped : skipped + left]
            ids += filter(None, taken)
            left -= len(taken)
            if not left:
                return IdPage(self._live(ids, now), str(run.number * _RUN + skipped + len(taken)))
        return IdPage(self._live(ids, now), None)

    async def info(self) -> StoreInfo:
        return StoreInfo(kind="memory", durability="none", schema=0, health="ok", shared=False)

    async def count(self, now: float) -> dict[str, int]:
        deadlines = self._deadlines
        await deadlines.look(now)
        # All three of one moment, for whatever happens between two looks would be counted twice, or not at all.
        ended = len(self._ended) - deadlines.expired_ended
        found = {"active": len(self._kept) - len(deadlines.expired) - ended, "terminated": ended}
        if now < deadlines.looked_at:  # by a clock that is ahead of the caller's
            early = list(deadlines.expired)
            for start in range(0, len(early), _COUNTED_A_SLICE):
                for kept in map(self._kept.get, early[start : start + _COUNTED_A_SLICE]):
                    if kept is not None and kept.deadline > now:
                        found[kept.record.state] += 1
                await asyncio.sleep(0)
        return found

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

    @asynccontextmanager
    async def dump(self, *, journal: bool = True) -> AsyncIterator[AsyncIterator[DumpPage]]:
        def whole_from(place: int) -> Iterator[tuple[int, Whole]]:
            for run in self._runs_from(place):
                base = run.number * _RUN
                for at, session_id in enumerate(run.ids):
                    if session_id is not None and base + at >= place:
                        yield base + at, self._whole(self._kept[session_id], journal=journal)

        last = self._runs[-1]
        end = last.number * _RUN + len(last.ids)
        dump = MemoryDump(self._term, end, whole_from, journal=journal, expected=len(self._kept))
        self._dumps.append(dump)
        self._journal.before_change = self._before_change
        try:
            yield dump.pages()
        finally:
            self._dumps.remove(dump)
            if not self._dumps:
                self._journal.before_change = None

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        new = MemoryStore()
        entries: list[DumpedEntry] = []
        self._refuse_if_used()
        async for page in pages:
            new._term = max(new._term, page.term)
            for record in page.records:
                if record.id in new._kept:
                    raise Corrupt(f"session {redacted(record.id)} is there twice")
                new._deadlines.file(new._create(record))
            entries += page.entries
            await asyncio.sleep(0)
        entries.sort(key=attrgetter("number"))
        for start in range(0, len(entries), _DELETED_A_SLICE):
            for each in entries[start : start + _DELETED_A_SLICE]:
                if each.session_id in new._kept:
                    new._journal.append(each.session_id, [each.entry])
            await asyncio.sleep(0)
        self._refuse_if_used()
        new._term = max(new._term, self._term)
        vars(self).update(vars(new))

    def _refuse_if_used(self) -> None:
        if self._dumps:
            raise Misused("the store is being dumped; load into it when that has ended")
        if self._kept:
            raise Misused(f"the store has {len(self._kept)} sessions; load into an empty one")

    def _before_change(self, session_id: str) -> None:
        kept = self._kept.get(session_id)
        if kept is not None:
            place = kept.run.number * _RUN + kept.place
            for dump in self._dumps:
                dump.before_change(place, partial(self._whole, kept, journal=dump.journal))

    def _whole(self, kept: Kept, *, journal: bool) -> Whole:
        record = kept.merged()
        return Whole(record, self._journal.numbered(record.id) if journal else [])

    def _create(self, record: Record) -> Kept:
        run = self._runs[-1]
        if len(run.ids) == _RUN:
            if not run.live:
                self._runs.pop()
            run = Run(run.number + 1)
            self._runs.append(run)
        kept = self._kept[record.id] = Kept(record, record.last_accessed, run, _PLACES[len(run.ids)])
        if record.state != "active":
            self._ended[record.id] = None
        run.ids.append(record.id)
        run.live += 1
        return kept

    def _alive(self, session_id: str, now: float) -> Kept | None:
        """Return what is active and not expired."""
        try:
            kept = self._kept.get(session_id)
        except TypeError:  # it is nothing that could be an id
            return None
        if kept is None:
            return None
        record = kept.record
        timeout, max_age = record.timeout, record.max_age
        if (
            record.state != "active"
            or (timeout is not None and kept.used_at + timeout <= now)
            or (max_age is not None and record.created_at + max_age <= now)
        ):
            return None
        return kept

    def _use(self, kept: Kept, at: float) -> None:
        if at > kept.used_at:
            kept.used_at = at
            if kept.slot == EXPIRED:
                self._deadlines.file(kept)

    def _remove(self, kept: Kept) -> Record:
        record, run = kept.merged(), kept.run
        session_id = record.id
        if self._dumps:
            self._before_change(session_id)
        self._deadlines.forget(kept)
        self._journal.forget(session_id)
        if self._ended:
            self._ended.pop(session_id, None)
        del self._kept[session_id]
        run.ids[kept.place] = None
        run.live -= 1
        if not run.live and run is not self._runs[-1]:
            del self._runs[bisect_left(self._runs, run.number, key=_number_of)]
        kept.clear()
        return record

    def _runs_from(self, at: int) -> Iterator[Run]:
        """Yield what holds records from a place on, as it is now."""
        for index in range(bisect_left(self._runs, at // _RUN, key=_number_of), len(self._runs)):
            yield self._runs[index]

    def _live(self, ids: list[str], now: float) -> list[str]:
        """Return those that are active and not expired; at once when none is otherwise."""
        if not self._ended and not self._deadlines.expired:
            return ids
        kept = map(self._kept.__getitem__, ids)
        return [each.record.id for each in kept if each.record.state == "active" and each.deadline > now]


def _place_from(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Misused("this is not a cursor of a memory store; pass one that its scan returned")
    return int(cursor)
