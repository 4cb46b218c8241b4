"""A store in one SQLite file: the server's default. Several processes may open the same file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from ..model.errors import Corrupt, HoldfastError, Misused
from ..model.session import Record
from ..runtime import Periodic, shielded
from .accesses import Accesses
from .contract import Entry, JournalBounds, OpenStream, Page, Query
from .lane import Lane
from .sqlite_acts import ROWS_MAX, Append, Delete, Put, Run, Touch, Write
from .sqlite_checkpoint import Checkpoints
from .sqlite_file import connect, prepare, statement, translated
from .sqlite_journal import SqliteTrim, read_entries, read_unfinished
from .sqlite_reader import Read, Reader, record_from
from .sqlite_writer import Writer

T = TypeVar("T")

_log = logging.getLogger(__name__)

_WINDOW: Final = 5000  # rows that one page of a scan looks at
_CHORE_S: Final = 1.0
_CLOSE_S: Final = 5.0
_CURSOR_MAX: Final = 2**63 - 1


class SqliteStore:
    """Keeps records and journals in a SQLite file in WAL mode; implements `Store` and `Journal`.

    Writes of all tasks that wait together are one statement and one fsync (group commit), in a thread; reads are in
    another. Opened by `SqliteStore.open`.
    """

    def __init__(self, to_write: sqlite3.Connection, to_read: sqlite3.Connection, to_fold: sqlite3.Connection) -> None:
        writer = Writer(to_write)
        self._writer: Lane[Write] = Lane("the database's writer", writer.write, to_write.close)
        self._reader: Lane[Read] = Lane("the database's reader", Reader(to_read).read, to_read.close)
        self._checkpoints = Checkpoints(to_fold, writer, self._run)
        self._accesses = Accesses()
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[SqliteStore]:
        """Open the file at `path`, made if it is not there; at the end write what waits and close it.

        Raises:
            Misused: It cannot be made, is not a store of Holdfast, or is of a newer version. Nothing was changed.
            Unavailable: It is locked for too long.
        """
        store = cls(*await asyncio.to_thread(_opened, path))
        chores = [
            Periodic("write accesses", store._write_if_wanted, interval_s=_CHORE_S),
            Periodic("fold the log", store._checkpoints.make_if_wanted, interval_s=_CHORE_S),
        ]
        for chore in chores:
            chore.start()
        try:
            yield store
        finally:
            await shielded(store._close(chores), within_s=_CLOSE_S, name="close the database")

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
        await self._write(Put(record, durable=durable))

    async def delete(self, session_id: str, *, expect: int | None = None, durable: bool = True) -> bool:
        if not _is_text(session_id):
            return False
        deleted: bool = await self._write(Delete(session_id, expect=expect, due_at=None, durable=durable))
        if deleted:
            self._accesses.forget(session_id)
        return deleted

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        self._accesses.tell(session_id, at, self._loop.time() + within_s)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        wanted = {
            "after": _row_from(cursor),
            "window": max(_WINDOW, limit),
            "limit": limit,
            "owner": query.owner,
            "state": query.state,
            "prefix": query.prefix,
        }
        page, looked_to = await self._read(lambda connection: _page(connection, wanted, query))
        records = [self._accesses.merged(record) for record in page.records]
        return Page(records, page.cursors, looked_to)

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        found = await self._read(lambda connection: _due(connection, now, limit))
        if any(self._accesses.merged(record).deadline > now for record in found):
            # Accesses not yet written hide what is really due behind them.
            await self._write_accesses()
            found = await self._read(lambda connection: _due(connection, now, limit))
        due = [record for record in found if self._accesses.merged(record).deadline <= now]
        acts = [Delete(record.id, expect=record.version, due_at=now, durable=False) for record in due]
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

    async def next_term(self) -> int:
        term: int = await self._write(Run(_next_term, durable=True))
        return term

    async def append(self, session_id: str, term: int, entries: Sequence[Entry]) -> None:
        if len(entries) > ROWS_MAX:
            raise Misused(f"append takes at most {ROWS_MAX} entries at once, not {len(entries)}")
        if entries:
            await self._write(Append(session_id, term, entries))

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        return await self._read(lambda connection: read_entries(connection, session_id, stream, after, limit))

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        if not _is_text(session_id):
            return []
        return await self._read(lambda connection: read_unfinished(connection, session_id))

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        return await SqliteTrim(self._read, self._run).trim(bounds, now)

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
            self._accesses.written()

    async def _close(self, chores: list[Periodic]) -> None:
        for chore in chores:
            await chore.stop()
        try:
            await self._write_accesses()
        except HoldfastError as error:
            # The sessions are there; they only look as if they had been idle a little longer.
            _log.warning("the last accesses could not be written: %s", error)
        # The writer last: SQLite folds the log into the file when the last connection closes.
        await self._checkpoints.close()
        await self._reader.close()
        await self._writer.close()


def _opened(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection, sqlite3.Connection]:
    prepare(path)
    try:
        return connect(path), connect(path), connect(path)
    except sqlite3.Error as error:
        raise translated(error) from error


def _page(connection: sqlite3.Connection, wanted: dict[str, Any], query: Query) -> tuple[Page, str | None]:
    """Return a page, and the cursor behind it: the last row when it is full, else the end of the window."""
    found = connection.execute(statement("scan"), wanted).fetchall()
    rows = [row for row in found if row[1] is not None]
    ((window_end, _, looked_at, *_),) = [row for row in found if row[1] is None]
    page = Page([], [], None)
    for row in rows:
        record = record_from(row[1:])
        if query.matches(record):
            page.records.append(record)
            page.cursors.append(str(row[0]))
    if len(rows) == wanted["limit"]:
        return page, str(rows[-1][0])
    return page, str(window_end) if looked_at == wanted["window"] else None


def _due(connection: sqlite3.Connection, now: float, limit: int) -> list[Record]:
    found: list[Record] = []
    for row in connection.execute(statement("due"), (now, limit)):
        try:
            found.append(record_from(row))
        except Corrupt as error:
            # It stays where it is for a human to look at; the others must not wait for that.
            _log.error("an expired session is not deleted: %s", error)
    return found


def _next_term(connection: sqlite3.Connection) -> int:
    (rows,) = connection.execute(statement("next_term")).fetchall()
    return int(rows[0])


def _row_from(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or int(cursor[:20]) > _CURSOR_MAX:
        raise Misused("this is not a cursor of a SQLite store; pass one that its scan returned")
    return int(cursor)


def _is_text(session_id: object) -> bool:
    """Tell whether it can be an id at all; what cannot be encoded would fail a whole batch."""
    try:
        return isinstance(session_id, str) and bool(session_id.encode())
    except UnicodeEncodeError:
        return False
