"""A store in one SQLite file: the server's default. Several processes may open the same file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from itertools import islice
from os.path import samestat
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from ..codec import PLAIN, Codec
from ..model.clock import Clock, SystemClock
from ..model.errors import HoldfastError, Misused, Unavailable
from ..model.session import Record
from ..runtime import Periodic
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
from .lane import Lane
from .sealing import SEALING_S, Sealing
from .sqlite_acts import ROWS_MAX, Append, Delete, Put, Run, Touch, Write
from .sqlite_address import Durability
from .sqlite_checkpoint import Checkpoints, sync_log
from .sqlite_dump import dumped, load
from .sqlite_faults import translated
from .sqlite_feed import SqliteFeed
from .sqlite_file import SCHEMA, connect, prepare, statement
from .sqlite_health import Health
from .sqlite_journal import SqliteTrim, read_entries, read_origins, read_unfinished
from .sqlite_pages import Due, Pages, read_ids
from .sqlite_reader import Read, Reader
from .sqlite_sealing import SqliteSealed, dictionary_in
from .sqlite_writer import Writer

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CHORE_S: Final = 1.0
_SAFE_EVERY_S: Final = 50.0  # what is promised is 60
_DUE_PAGES_MAX: Final = 10


class Connections(NamedTuple):
    """Those of one store, each used by one thread."""

    to_write: sqlite3.Connection
    to_read: sqlite3.Connection
    to_fold: sqlite3.Connection
    to_check: sqlite3.Connection


class SqliteStore:
    """Keeps records in a SQLite file in WAL mode: `Store`, `Listing`, `Described`, `Journal`, `Feed` and `Dumped`.

    Writes of all tasks that wait together are one statement and one fsync (group commit), in a thread; reads are in
    another. Opened by `SqliteStore.open`.
    """

    def __init__(
        self, path: Path, durability: Durability, codec: Codec, connections: Connections, clock: Clock
    ) -> None:
        to_write, to_read, to_fold, to_check = connections
        self._codec = codec = codec.of_store(partial(dictionary_in, path, codec))
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
        self._now = clock.now
        self._sealing = Sealing(
            codec, SqliteSealed(codec, self._read, lambda run: self._write(Run(run, durable=False)))
        )
        self._not_swept = ""
        self._accesses = Accesses()
        self._pages = Pages(codec)
        self._due_after = Due()
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()

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
            Periodic("write accesses", store._write_if_wanted, interval_s=_CHORE_S),
            Periodic("fold the log", store._checkpoints.make_if_wanted, interval_s=_CHORE_S),
            Periodic("delete journals of deleted sessions", store._sweep, interval_s=_CHORE_S),
        ]
        if not codec.is_plain:
            chores.append(Periodic("seal anew", store.seal_anew, interval_s=SEALING_S))
        if durability == "interval":
            chores.append(Periodic("make writes power-safe", store._checkpoints.make_safe, interval_s=safe_every_s))
        store._health.start()
        for chore in chores:
            chore.start()
        try:
            await store._sealing.begin()
            yield store
        finally:
            await closed(store._close(chores))

    async def get(self, session_id: str) -> Record | None:
        if not _is_text(session_id):
            return None
        act = Read(session_id)
        await self._reader.submit(act)
        if act.error is not None:
            raise act.error
        return None if act.result is None else self._accesses.merged(act.result)

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        if record.version != expect + 1:
            raise Misused(f"a record put with expect={expect} has version {expect + 1}, not {record.version}")
        await self._write(Put(record, self._codec, durable=durable, at=self._now()))

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        if not _is_text(session_id):
            return False
        act = Delete(session_id, expect=expect, due_at=None, durable=durable, at=self._now())
        deleted: bool = await self._write(act)
        if deleted:
            self._accesses.forget(session_id)
        return deleted

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        self._accesses.tell(session_id, at, self._loop.time() + within_s)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        page = await self._read(lambda connection: self._pages.scan(connection, query, cursor, limit))
        return Page([self._accesses.merged(record) for record in page.records], page.cursors, page.cursor)

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        page, late = await self._read(lambda connection: read_ids(connection, now, cursor, limit))
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
        acts = [Delete(record.id, expect=record, due_at=now, durable=False, at=at) for record in due]
        gone: list[Record] = []
        for start in range(0, len(acts), ROWS_MAX):
            await self._writer.submit(*acts[start : start + ROWS_MAX])
        for record, act in zip(due, acts, strict=True):
            if act.error is not None:
                raise act.error
            if act.result:
                self._accesses.forget(record.id)
                gone.append(record)
        return gone

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

    async def seal_anew(self) -> None:
        """Seal what lies under older keys with the current one, and learn to compress; done by itself, too."""
        await self._sealing.run()

    async def count(self, now: float) -> dict[str, int]:
        await self._write_accesses()  # what was used and is not written would look expired
        counted = await self._read(lambda connection: connection.execute(statement("count"), (now,)).fetchall())
        return {"active": 0, "terminated": 0, **dict(counted)}

    async def next_term(self) -> int:
        term: int = await self._write(Run(_next_term, durable=True))
        return term

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        acts = [Append(batch.session_id, batch.term, batch.entries) for batch in batches]
        for act in acts:
            if len(act.rows) > ROWS_MAX:
                act.error = Misused(f"a batch holds at most {ROWS_MAX} entries, not {len(act.rows)}")
        fit = [act for act in acts if act.rows and act.error is None]
        if fit:
            await self._writer.submit(*fit)
        return [_refusal(act) for act in acts]

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        return await self._read(
            lambda connection: read_entries(connection, session_id, stream, after, limit, self._codec)
        )

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        if not _is_text(session_id):
            return []
        return await self._read(lambda connection: read_unfinished(connection, session_id, self._codec))

    async def origins(self, session_id: str, first: int, last: int) -> set[int]:
        if not _is_text(session_id):
            return set()
        return await self._read(lambda connection: read_origins(connection, session_id, first, last))

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        return await self._trim.trim(bounds, now)

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
        connection = await asyncio.to_thread(_connected, self._path, self._durability)
        async with dumped(connection, self._codec, journal=journal) as pages:
            yield pages

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        connection = await asyncio.to_thread(_connected, self._path, self._durability)
        await load(connection, self._codec, self._now(), pages)

    async def _due(self, now: float, limit: int) -> list[Record]:
        """Return the next records that are due, behind any pages of which nothing can be read.

        At most ten pages are looked at; the next call goes on behind them, and begins anew at the end.
        """
        after, self._due_after = self._due_after, Due()
        for _ in range(_DUE_PAGES_MAX):
            found, end = await self._read(partial(self._pages.due, now=now, after=after, limit=limit))
            if found or end is None:
                return found
            after = end
        self._due_after = after
        return []

    async def _read(self, run: Callable[[sqlite3.Connection], T]) -> T:
        act = Read(run=run)
        await self._reader.submit(act)
        if act.error is not None:
            raise act.error
        result: T = act.result
        return result

    async def _run(self, run: Callable[[sqlite3.Connection], int]) -> int:
        count: int = await self._write(Run(run, durable=False))
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
            acts: list[Touch] = []
            while rows := dict(islice(rest, ROWS_MAX)):
                acts.append(Touch(rows))
            try:
                for act in acts:
                    await self._write(act)
            except BaseException:
                self._accesses.kept()
                raise

    async def _sweep(self) -> None:
        try:
            await self._trim.sweep()
            self._not_swept = ""
        except HoldfastError as error:
            # Told once: a full disk or a damaged page would be told every second.
            if str(error) != self._not_swept:
                self._not_swept = str(error)
                _log.warning("journals of deleted sessions stay for now: %s", error)

    async def _close(self, chores: list[Periodic]) -> None:
        try:
            for chore in chores:
                await chore.stop()
            try:
                await self._write_accesses()
            except HoldfastError as error:
                # The sessions are there; they only look as if they had been idle a little longer.
                _log.warning("the last accesses could not be written: %s", error)
            await self._health.stop()
            # The writer last: SQLite folds the log into the file when the last connection closes.
            await self._checkpoints.close()
            await self._reader.close()
        finally:
            # Also where there is no time left to wait for them: else the file is held until the process ends.
            for ends in (self._checkpoints, self._reader, self._writer):
                ends.end()
        await self._writer.close()
        if self._durability == "interval":
            # Where another process has the file open, nothing was folded.
            try:
                await asyncio.to_thread(sync_log, self._path)
            except HoldfastError as error:
                _log.error("%s", error)


def _refusal(act: Write) -> HoldfastError | None:
    if act.error is None or isinstance(act.error, HoldfastError):
        return act.error
    _log.error("entries could not be written", exc_info=act.error)
    unavailable = Unavailable(f"the entries could not be written: {act.error}")
    unavailable.__cause__ = act.error
    return unavailable


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


def _is_text(session_id: object) -> bool:
    """Tell whether it can be an id at all; what cannot be encoded would fail a whole batch."""
    try:
        return isinstance(session_id, str) and bool(session_id.encode())
    except UnicodeEncodeError:
        return False
