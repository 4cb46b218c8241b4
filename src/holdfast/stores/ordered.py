"""A store in an ordered key-value database, of which one process has all to itself: LevelDB or RocksDB."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from ..codec import PLAIN, Codec
from ..model.clock import Clock, SystemClock
from ..model.errors import HoldfastError, Misused, Unavailable
from ..model.session import Record
from ..runtime import Periodic
from . import ordered_acts as acts
from . import ordered_keys as keys
from .accesses import Accesses
from .closing import closed
from .contract import (
    Batch,
    Changes,
    DumpPage,
    Entry,
    FeedBounds,
    IdPage,
    JournalBounds,
    OpenStream,
    Page,
    Past,
    Query,
    StoreInfo,
)
from .lane import DEADLINE_S, Lane
from .ordered_dump import Dump, Load, dumped, refuse_half_filled
from .ordered_engine import Engine, Read, Reader, View, Write, Writer
from .ordered_feed import OrderedFeed, begin_feed
from .ordered_folder import SCHEMA, hold
from .ordered_journal import Append, read_entries, read_origins, read_unfinished
from .ordered_log import Log
from .ordered_pages import Pages, count_states, get_record, read_ids
from .ordered_recent import Recent
from .ordered_sealing import OrderedSealed, dictionary_in
from .ordered_trim import OrderedTrim
from .sealing import SEALING_S, Sealing
from .turns import Turns

T = TypeVar("T")

_log = logging.getLogger(__name__)

ENTRIES_MAX: Final = 1024
_TOUCHED_AT_ONCE: Final = 1024
_DELETED_AT_ONCE: Final = 1024
_CHORE_S: Final = 1.0
_DUE_PAGES_MAX: Final = 10


class OrderedStore:
    """Keeps records in an `Engine`: `Store`, `Listing`, `Described`, `Journal`, `Feed` and `Dumped`.

    Writes of all tasks that wait together are one write, and one fsync (group commit), in a thread; reads are in
    another. Nobody else has the database, so the writer looks what is stored and then writes, and what was used last is
    kept in memory. Opened by `OrderedStore.open`.
    """

    def __init__(self, kind: str, codec: Codec, engine: Engine, let_go: Callable[[], None], clock: Clock) -> None:
        self._codec = codec = codec.of_store(partial(dictionary_in, engine, codec))
        self._kind = kind
        self._engine = engine
        self._let_go = let_go
        self._reader_ended = threading.Event()
        self._recent = Recent()
        self._written_by = Writer(engine, self._recent)
        self._writer: Lane[Write] = Lane("the database's writer", self._written_by.write, self._end)
        self._reader: Lane[Read] = Lane("the database's reader", Reader(engine).read, self._reader_ended.set)
        self._numbers = acts.Numbers(engine)
        self._log = Log(engine, self._numbers.take)
        self._feed = OrderedFeed(engine, self._log, self._read, self._run, codec)
        self._now = clock.now
        self._accesses = Accesses()
        self._pages = Pages(codec)
        self._sealing = Sealing(
            codec, OrderedSealed(engine, codec, self._read, lambda run: self._write(Write(run, looks=True)))
        )
        self._due_after = b""
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._to_clear = True
        self._dumps: set[Turns] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        kind: str,
        driver: Callable[[], Callable[[Path], Engine]],
        path: Path,
        *,
        clock: Clock | None = None,
        codec: Codec = PLAIN,
    ) -> AsyncIterator[OrderedStore]:
        """Open the folder at `path`, made if it is not there; at the end write what waits and close it.

        `clock` says when a change was made. What is kept is sealed by `codec`.

        Raises:
            Misused: The driver is missing, the folder cannot be made, is not a store of this kind, or is of a newer
                version. Nothing was changed.
            Unavailable: It is open already, or cannot be opened now.
            Corrupt: The database is damaged.
        """
        clock = clock or SystemClock()
        store = cls(kind, codec, *await asyncio.to_thread(_opened, kind, driver, path, clock.now()), clock)
        chores = [
            Periodic("write accesses", store._write_if_wanted, interval_s=_CHORE_S),
            Periodic("clear deleted journals away", store._clear_if_wanted, interval_s=_CHORE_S),
        ]
        if not codec.is_plain:
            chores.append(Periodic("seal anew", store.seal_anew, interval_s=SEALING_S))
        for chore in chores:
            chore.start()
        try:
            await store._sealing.begin()
            yield store
        finally:
            await closed(store._close(chores))

    async def get(self, session_id: str) -> Record | None:
        id_bytes = keys.id_key(session_id)
        if id_bytes is None:
            return None
        record = self._recent.find(session_id)
        if record is None:
            record = await self._read(lambda engine: self._get(engine, session_id, id_bytes))
        return None if record is None else self._accesses.merged(record)

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        if record.version != expect + 1:
            raise Misused(f"a record put with expect={expect} has version {expect + 1}, not {record.version}")
        put = acts.Put(record, self._numbers, self._codec, self._log, self._now())
        await self._write(Write(put, durable=durable, size_bytes=put.size_bytes))

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        id_bytes = keys.id_key(session_id)
        if id_bytes is None:
            return False
        deleted: bool = await self._write(
            Write(self._delete(id_bytes, self._now(), expect=expect, due_at=None), durable=durable)
        )
        if deleted:
            self._forget(session_id)
        return deleted

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        self._accesses.tell(session_id, at, self._loop.time() + within_s)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        page = await self._read(lambda engine: self._pages.scan(engine, query, cursor, limit))
        return Page([self._accesses.merged(record) for record in page.records], page.cursors, page.cursor)

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        page, late = await self._read(lambda engine: read_ids(engine, now, cursor, limit))
        for session_id, timeout, expires_at in late:
            if min(expires_at, self._accesses.last_of(session_id) + timeout) > now:
                page.ids.append(session_id)
        return page

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        found = await self._due(now, limit)
        if any(self._accesses.merged(record).deadline > now for record in found):
            # Accesses not yet written hide what is really due behind them.
            await self._write_accesses()
            found = await self._due(now, limit)
        due = [record for record in found if self._accesses.merged(record).deadline <= now]
        at = self._now()
        deletes = [Write(self._delete(record.id.encode(), at, expect=record, due_at=now)) for record in due]
        for start in range(0, len(deletes), _DELETED_AT_ONCE):
            await self._writer.submit(*deletes[start : start + _DELETED_AT_ONCE])
        gone: list[Record] = []
        for record, act in zip(due, deletes, strict=True):
            if act.error is not None:
                raise act.error
            if act.result:
                self._forget(record.id)
                gone.append(record)
        return gone

    async def info(self) -> StoreInfo:
        try:
            await self._read(lambda engine: engine.get(keys.TERM))
        except HoldfastError as error:
            health = str(error)
        else:
            failed = self._written_by.failed
            health = "ok" if failed is None else str(failed)
        return StoreInfo(
            kind=self._kind,
            durability="full",
            schema=SCHEMA,
            health=health,
            shared=False,
            older_keys=self._sealing.older,
        )

    async def seal_anew(self) -> None:
        """Seal what lies under older keys with the current one, and learn to compress; done by itself, too."""
        await self._sealing.run()

    async def count(self, now: float) -> dict[str, int]:
        await self._write_accesses()  # what was used and is not written would look expired
        counts = {"active": 0, "terminated": 0}
        start = keys.SESSION
        while start:
            page = await self._read(partial(count_states, now=now, start=start))
            start = page.next
            counts["active"] += page.active
            counts["terminated"] += page.terminated
        return counts

    async def next_term(self) -> int:
        term: int = await self._write(Write(acts.next_term, durable=True))
        return term

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        done = [_append(batch, self._numbers, self._codec) for batch in batches]
        fit = [act for act in done if isinstance(act, Write)]
        if fit:
            await self._writer.submit(*fit)
        return [_refusal(act) if isinstance(act, Write) else act for act in done]

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        id_bytes = keys.id_key(session_id)
        if id_bytes is None:
            return []
        return await self._read(lambda engine: read_entries(engine, id_bytes, stream, after, limit, self._codec))

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        id_bytes = keys.id_key(session_id)
        return (
            [] if id_bytes is None else await self._read(lambda engine: read_unfinished(engine, id_bytes, self._codec))
        )

    async def origins(self, session_id: str, first: int, last: int) -> set[int]:
        id_bytes = keys.id_key(session_id)
        return set() if id_bytes is None else await self._read(lambda it: read_origins(it, id_bytes, first, last))

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        return await OrderedTrim(self._engine, self._run).trim(bounds, now)

    async def changes(self, *, after: str | None = None, limit: int = 500) -> Changes:
        return await self._feed.changes(after, limit)

    async def position(self) -> str:
        return await self._feed.position()

    async def state_at(self, at: float, *, changed: bool = False, cursor: str | None = None, limit: int = 500) -> Past:
        return await self._feed.state_at(at, changed, cursor, limit)

    async def trim_changes(self, bounds: FeedBounds, now: float) -> int:
        return await self._feed.trim(bounds, now)

    @asynccontextmanager
    async def dump(self, *, journal: bool = True) -> AsyncIterator[AsyncIterator[DumpPage]]:
        await self._write_accesses()
        moment = await self._read(lambda engine: engine.moment())
        turns = await Turns.begin("the database's dump", moment.close)
        self._dumps.add(turns)
        try:
            dump = Dump(moment, self._codec)
            await turns.do(dump.begin)
            yield dumped(turns, dump, journal=journal)
        finally:
            await turns.close()
            self._dumps.discard(turns)

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        await Load(self._engine, self._numbers, self._log, self._run, self._codec, self._now()).load(pages)
        await self._write(Write(lambda view: view.put(keys.LOADING, None), durable=True))

    def _delete(
        self, id_bytes: bytes, at: float, *, expect: Record | None, due_at: float | None
    ) -> Callable[[View], bool]:
        return partial(
            acts.delete, id_bytes=id_bytes, codec=self._codec, log=self._log, at=at, expect=expect, due_at=due_at
        )

    async def _due(self, now: float, limit: int) -> list[Record]:
        """Return the next records that are due, behind any pages of which nothing can be read.

        At most ten pages are looked at; the next call goes on behind them, and begins anew at the end.
        """
        after, self._due_after = self._due_after, b""
        for _ in range(_DUE_PAGES_MAX):
            found, end, stale = await self._read(partial(self._pages.due, now=now, after=after, limit=limit))
            if stale:
                await self._write(Write(partial(acts.forget_due, due_keys=stale)))
            if found or not end:
                return found
            after = end
        self._due_after = after
        return []

    def _get(self, engine: Engine, session_id: str, id_bytes: bytes) -> Record | None:
        mark = self._recent.begin_read(session_id)
        record = None
        try:
            record = get_record(engine, id_bytes, self._codec)
        finally:
            self._recent.end_read(session_id, mark, record)
        return record

    def _forget(self, session_id: str) -> None:
        self._accesses.forget(session_id)
        self._to_clear = True

    async def _read(self, run: Callable[[Engine], T]) -> T:
        act = Read(run)
        await self._reader.submit(act)
        if act.error is not None:
            raise act.error
        result: T = act.result
        return result

    async def _run(self, run: Callable[[View], int]) -> int:
        count: int = await self._write(Write(run, looks=True))
        return count

    async def _write(self, act: Write) -> Any:
        await self._writer.submit(act)
        if act.error is not None:
            raise act.error
        return act.result

    async def _write_if_wanted(self) -> None:
        if self._accesses.want_writing(self._loop.time()):
            await self._write_accesses()

    async def _write_accesses(self) -> None:
        async with self._writing:
            rest = iter(self._accesses.take().items())
            try:
                while told := list(islice(rest, _TOUCHED_AT_ONCE)):
                    await self._write(Write(partial(acts.touch, accesses=told)))
            except BaseException:
                self._accesses.kept()
                raise

    async def _clear_if_wanted(self) -> None:
        if self._to_clear:
            self._to_clear = False
            try:
                await OrderedTrim(self._engine, self._run).clear()
            except BaseException:
                self._to_clear = True
                raise

    async def _close(self, chores: list[Periodic]) -> None:
        for dump in list(self._dumps):
            await dump.close()
        try:
            for chore in chores:
                await chore.stop()
            try:
                await self._write_accesses()
            except HoldfastError as error:
                # The sessions are there; they only look as if they had been idle a little longer.
                _log.warning("the last accesses could not be written: %s", error)
            self._recent.close()
            await self._reader.close()
        finally:
            # Also where there is no time left to wait for them: else the folder is held until the process ends.
            self._reader.end()
            self._writer.end()
        await self._writer.close()

    def _end(self) -> None:
        """Close the database on the writer's thread, unless the other hangs in it: to close it then is to crash."""
        if not self._reader_ended.wait(DEADLINE_S):
            return
        try:
            self._engine.close()
        except HoldfastError as error:
            # What was acknowledged is in its log, which the next to open it reads.
            _log.warning("the database could not be closed in order: %s", error)
        finally:
            self._let_go()


def _append(batch: Batch, numbers: acts.Numbers, codec: Codec) -> Write | Misused | None:
    if len(batch.entries) > ENTRIES_MAX:
        return Misused(f"a batch holds at most {ENTRIES_MAX} entries, not {len(batch.entries)}")
    if not batch.entries:
        return None
    size_bytes = sum(len(entry.data) for entry in batch.entries)
    return Write(Append(batch.session_id, batch.term, batch.entries, numbers, codec), size_bytes=size_bytes)


def _refusal(act: Write) -> HoldfastError | None:
    if act.error is None or isinstance(act.error, HoldfastError):
        return act.error
    unavailable = Unavailable(f"the entries could not be written: {act.error}")
    unavailable.__cause__ = act.error
    return unavailable


def _opened(
    kind: str, driver: Callable[[], Callable[[Path], Engine]], path: Path, now: float
) -> tuple[Engine, Callable[[], None]]:
    open_engine = driver()
    held = hold(path, kind)
    try:
        engine = open_engine(path)
        try:
            refuse_half_filled(engine, path)
            begin_feed(engine, now)
        except BaseException:
            engine.close()
            raise
        return engine, partial(os.close, held)
    except BaseException:
        os.close(held)
        raise
