"""A store in an ordered key-value database, of which one process has all to itself: LevelDB or RocksDB."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..codec import PLAIN, Codec
from ..model.clock import Clock, SystemClock
from ..model.errors import HoldfastError
from ..model.session import Record
from ..runtime import Periodic
from . import ordered_acts as acts
from . import ordered_keys as keys
from .contract import Batch, DumpPage, Entry, JournalBounds, OpenStream, StoreInfo
from .lane import DEADLINE_S, Lane
from .lane_store import CHORE_S, LaneStore
from .ordered_dump import Dump, Load, dumped, refuse_half_filled
from .ordered_engine import Engine, Read, Reader, View, Write, Writer
from .ordered_feed import OrderedFeed, begin_feed
from .ordered_folder import SCHEMA, bring_up, hold
from .ordered_journal import Append, read_entries, read_origins, read_unfinished
from .ordered_log import Log
from .ordered_pages import Pages, count_states, get_record
from .ordered_recent import Recent
from .ordered_sealing import OrderedSealed, dictionary_in
from .ordered_trim import OrderedTrim
from .sealing import Sealing
from .turns import Turns

_log = logging.getLogger(__name__)


class OrderedStore(LaneStore[Engine, View, Write]):
    """Keeps records in an `Engine`: `Store`, `Listing`, `Described`, `Journal`, `Feed` and `Dumped`.

    Nobody else has the database, so the writer looks what is stored and then writes, and what was used last is kept in
    memory. Opened by `OrderedStore.open`.
    """

    def __init__(self, kind: str, codec: Codec, engine: Engine, let_go: Callable[[], None], clock: Clock) -> None:
        codec = codec.of_store(partial(dictionary_in, engine, codec))
        super().__init__(codec, clock)
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
        self._pages: Pages = Pages(codec)
        sealed = OrderedSealed(engine, codec, self._read, lambda run: self._write(self._to_run(run)))
        self._sealing = Sealing(codec, sealed)
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
        clearing = Periodic("clear deleted journals away", store._clear_if_wanted, interval_s=CHORE_S)
        async with store._kept_up(clearing):
            yield store

    async def get(self, session_id: str) -> Record | None:
        id_bytes = keys.id_key(session_id)
        if id_bytes is None:
            return None
        record = self._recent.find(session_id)
        if record is None:
            record = await self._read(lambda engine: self._get(engine, session_id, id_bytes))
        return None if record is None else self._accesses.merged(record)

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

    def _to_put(self, record: Record, at: float, durable: bool) -> Write:
        put = acts.Put(record, self._numbers, self._codec, self._log, at)
        return Write(put, durable=durable, size_bytes=put.size_bytes)

    def _to_delete(
        self, session_id: str, at: float, *, expect: Record | None, due_at: float | None, durable: bool
    ) -> Write:
        delete = partial(
            acts.delete,
            id_bytes=session_id.encode(),
            codec=self._codec,
            log=self._log,
            at=at,
            expect=expect,
            due_at=due_at,
        )
        return Write(delete, durable=durable)

    def _to_touch(self, accesses: Sequence[tuple[str, float]]) -> Write:
        return Write(partial(acts.touch, accesses=accesses))

    def _to_append(self, batch: Batch) -> Write:
        append = Append(batch.session_id, batch.term, batch.entries, self._numbers, self._codec)
        return Write(append, size_bytes=sum(len(entry.data) for entry in batch.entries))

    def _to_run(self, run: Callable[[View], Any]) -> Write:
        return Write(run, looks=True)

    def _to_read(self, run: Callable[[Engine], Any]) -> Read:
        return Read(run)

    async def _read_due(self, now: float, after: bytes | None, limit: int) -> tuple[list[Record], bytes | None]:
        found, end, stale = await self._read(partial(self._pages.due, now=now, after=after or b"", limit=limit))
        if stale:
            await self._write(Write(partial(acts.forget_due, due_keys=stale)))
        return found, end or None

    def _get(self, engine: Engine, session_id: str, id_bytes: bytes) -> Record | None:
        mark = self._recent.begin_read(session_id)
        record = None
        try:
            record = get_record(engine, id_bytes, self._codec)
        finally:
            self._recent.end_read(session_id, mark, record)
        return record

    def _forget(self, session_id: str) -> None:
        super()._forget(session_id)
        self._to_clear = True

    async def _clear_if_wanted(self) -> None:
        if self._to_clear:
            self._to_clear = False
            try:
                await OrderedTrim(self._engine, self._run).clear()
            except BaseException:
                self._to_clear = True
                raise

    async def _close_beside_writer(self) -> None:
        self._recent.close()
        await self._reader.close()

    async def _close(self, chores: Sequence[Periodic]) -> None:
        for dump in list(self._dumps):
            await dump.close()
        await super()._close(chores)

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


def _opened(
    kind: str, driver: Callable[[], Callable[[Path], Engine]], path: Path, now: float
) -> tuple[Engine, Callable[[], None]]:
    open_engine = driver()
    held = hold(path, kind)
    try:
        engine = open_engine(path)
        try:
            refuse_half_filled(engine, path)
            bring_up(held, kind)
            begin_feed(engine, now)
        except BaseException:
            engine.close()
            raise
        return engine, partial(os.close, held)
    except BaseException:
        os.close(held)
        raise
