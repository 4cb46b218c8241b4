"""A store in one SQLite file: the server's default. Several processes may open the same file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from os.path import samestat
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..codec import PLAIN, Codec
from ..model.clock import Clock, SystemClock
from ..model.errors import HoldfastError, Unavailable
from ..model.session import Record
from ..runtime import Periodic
from .contract import Batch, DumpPage, Entry, JournalBounds, OpenStream, StoreInfo
from .lane import Lane
from .lane_store import CHORE_S, LaneStore, is_text
from .sealing import Sealing
from .sqlite_acts import Append, Delete, Put, Run, Touch, Write
from .sqlite_address import Durability
from .sqlite_checkpoint import Checkpoints, sync_log
from .sqlite_dump import dumped, load
from .sqlite_faults import translated
from .sqlite_feed import SqliteFeed
from .sqlite_file import SCHEMA, connect, prepare, statement
from .sqlite_health import Health
from .sqlite_journal import SqliteTrim, read_entries, read_origins, read_unfinished
from .sqlite_pages import Due, Pages
from .sqlite_reader import Read, Reader
from .sqlite_sealing import SqliteSealed, dictionary_in
from .sqlite_writer import Writer

_log = logging.getLogger(__name__)

_SAFE_EVERY_S: Final = 50.0  # what is promised is 60


class Connections(NamedTuple):
    """Those of one store, each used by one thread."""

    to_write: sqlite3.Connection
    to_read: sqlite3.Connection
    to_fold: sqlite3.Connection
    to_check: sqlite3.Connection


class SqliteStore(LaneStore[sqlite3.Connection, sqlite3.Connection, Write]):
    """Keeps records in a SQLite file in WAL mode: `Store`, `Listing`, `Described`, `Journal`, `Feed` and `Dumped`.

    Writes that wait together are one statement for each kind. Opened by `SqliteStore.open`.
    """

    def __init__(
        self, path: Path, durability: Durability, codec: Codec, connections: Connections, clock: Clock
    ) -> None:
        to_write, to_read, to_fold, to_check = connections
        codec = codec.of_store(partial(dictionary_in, path, codec))
        super().__init__(codec, clock)
        writer = Writer(to_write, durability, codec)
        self._path = path
        self._durability = durability
        self._health = Health(path, to_check)
        self._written = writer
        self._writer: Lane[Write] = Lane("the database's writer", writer.write, to_write.close)
        self._reader: Lane[Read] = Lane("the database's reader", Reader(to_read, codec).read, to_read.close)
        self._checkpoints = Checkpoints(path, to_fold, writer, self._run)
        self._trim = SqliteTrim(self._read, self._run)
        self._feed = SqliteFeed(self._read, self._run, codec)
        self._sealing = Sealing(codec, SqliteSealed(codec, self._read, lambda run: self._write(self._to_run(run))))
        self._not_swept = ""
        self._pages: Pages = Pages(codec)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        durability: Durability = "full",
        safe_every_s: float = _SAFE_EVERY_S,
        clock: Clock | None = None,
        codec: Codec = PLAIN,
    ) -> AsyncIterator[SqliteStore]:
        """Open the file at `path`, made if it is not there; at the end write what waits and close it.

        A durable write returns once it is power-safe ("full"), or at once: then what was written is made so every
        `safe_every_s` seconds and at the end ("interval"), or never ("off"). `clock` says when a change was made. What
        is kept is sealed by `codec`.

        Raises:
            Misused: It cannot be made or written, is not a store of Holdfast, or is of a newer version. Nothing was
                changed.
            Unavailable: It is locked for too long, or the disk is full.
            Corrupt: It is damaged where it says what is in it. Nothing was changed.
        """
        opened = await asyncio.to_thread(_opened, path, durability)
        store = cls(path, durability, codec, opened, clock or SystemClock())
        chores = [
            Periodic("fold the log", store._checkpoints.make_if_wanted, interval_s=CHORE_S),
            Periodic("delete journals of deleted sessions", store._sweep, interval_s=CHORE_S),
        ]
        if durability == "interval":
            chores.append(Periodic("make writes power-safe", store._checkpoints.make_safe, interval_s=safe_every_s))
        store._health.start()
        async with store._kept_up(*chores):
            yield store

    async def get(self, session_id: str) -> Record | None:
        if not is_text(session_id):
            return None
        act = Read(session_id)
        await self._reader.submit(act)
        if act.error is not None:
            raise act.error
        return None if act.result is None else self._accesses.merged(act.result)

    async def info(self) -> StoreInfo:
        try:
            await self._read(lambda connection: connection.execute("SELECT 1").fetchone())
        except HoldfastError as error:
            health = str(error)
        else:
            health = self._health.found or self._written.trouble or "ok"
        return StoreInfo(
            kind="sqlite",
            durability=self._durability,
            schema=SCHEMA,
            health=health,
            shared=True,
            older_keys=self._sealing.older,
        )

    async def count(self, now: float) -> dict[str, int]:
        await self._write_accesses()  # what was used and is not written would look expired
        counted = await self._read(lambda connection: connection.execute(statement("count"), (now,)).fetchall())
        return {"active": 0, "terminated": 0, **dict(counted)}

    async def next_term(self) -> int:
        term: int = await self._write(Run(_next_term, durable=True))
        return term

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        return await self._read(
            lambda connection: read_entries(connection, session_id, stream, after, limit, self._codec)
        )

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        if not is_text(session_id):
            return []
        return await self._read(lambda connection: read_unfinished(connection, session_id, self._codec))

    async def origins(self, session_id: str, first: int, last: int) -> set[int]:
        if not is_text(session_id):
            return set()
        return await self._read(lambda connection: read_origins(connection, session_id, first, last))

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        return await self._trim.trim(bounds, now)

    @asynccontextmanager
    async def dump(self, *, journal: bool = True) -> AsyncIterator[AsyncIterator[DumpPage]]:
        await self._write_accesses()
        connection = await asyncio.to_thread(_connected, self._path, self._durability)
        async with dumped(connection, self._codec, journal=journal) as pages:
            yield pages

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        connection = await asyncio.to_thread(_connected, self._path, self._durability)
        await load(connection, self._codec, self._now(), pages)

    def _to_put(self, record: Record, at: float, durable: bool) -> Write:
        return Put(record, self._codec, durable=durable, at=at)

    def _to_delete(
        self, session_id: str, at: float, *, expect: Record | None, due_at: float | None, durable: bool
    ) -> Write:
        return Delete(session_id, expect=expect, due_at=due_at, durable=durable, at=at)

    def _to_touch(self, accesses: Sequence[tuple[str, float]]) -> Write:
        return Touch(dict(accesses))

    def _to_append(self, batch: Batch) -> Write:
        return Append(batch.session_id, batch.term, batch.entries)

    def _to_run(self, run: Callable[[sqlite3.Connection], Any]) -> Write:
        return Run(run, durable=False)

    def _to_read(self, run: Callable[[sqlite3.Connection], Any]) -> Read:
        return Read(run=run)

    async def _read_due(self, now: float, after: Due | None, limit: int) -> tuple[list[Record], Due | None]:
        return await self._read(partial(self._pages.due, now=now, after=after or Due(), limit=limit))

    async def _sweep(self) -> None:
        try:
            await self._trim.sweep()
            self._not_swept = ""
        except HoldfastError as error:
            # Told once: a full disk or a damaged page would be told every second.
            if str(error) != self._not_swept:
                self._not_swept = str(error)
                _log.warning("journals of deleted sessions stay for now: %s", error)

    async def _close_beside_writer(self) -> None:
        await self._health.stop()
        # The writer last: SQLite folds the log into the file when the last connection closes.
        await self._checkpoints.close()
        await self._reader.close()

    async def _close(self, chores: Sequence[Periodic]) -> None:
        try:
            await super()._close(chores)
        finally:
            self._checkpoints.end()
        if self._durability == "interval":
            # Where another process has the file open, nothing was folded.
            try:
                await asyncio.to_thread(sync_log, self._path)
            except HoldfastError as error:
                _log.error("%s", error)


def _connected(path: Path, durability: Durability) -> sqlite3.Connection:
    try:
        return connect(path, durability)
    except sqlite3.Error as error:
        raise translated(error) from error


def _opened(path: Path, durability: Durability) -> Connections:
    prepare(path, durability)
    prepared = path.stat()
    with ExitStack() as stack:
        try:
            connections = [stack.enter_context(closing(connect(path, durability))) for _ in Connections._fields]
            for connection in connections:
                # From here on it has SQLite's lock on the file, by which others see that it is open.
                connection.execute("PRAGMA schema_version").fetchone()
            if not samestat(path.stat(), prepared):
                raise Unavailable(f"{path} was replaced while it was being opened; open it again")
        except sqlite3.Error as error:
            raise translated(error) from error
        stack.pop_all()
    return Connections(*connections)


def _next_term(connection: sqlite3.Connection) -> int:
    (rows,) = connection.execute(statement("next_term")).fetchall()
    return int(rows[0])
