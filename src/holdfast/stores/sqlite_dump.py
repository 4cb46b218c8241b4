"""Everything in a SQLite file as it was at one moment, and a file filled with what such a dump gave.

A dump is one read transaction on a connection of its own: others write meanwhile. But the log cannot begin anew before
it ends, so that it grows by what is written meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from ..codec import Codec
from ..model.errors import Corrupt, Misused
from .contract import DumpedEntry, DumpPage
from .sqlite_acts import Append, Put
from .sqlite_faults import translated
from .sqlite_file import statement
from .sqlite_journal import entry_from
from .sqlite_reader import record_from
from .turns import Turns

T = TypeVar("T")

_ITEMS: Final = 100
_BYTES: Final = 2**20
_CACHE_KIB: Final = 4096  # each page is read once
_START: Final = -(2**63)
_FEED_ANEW: Final = """
    UPDATE feed SET
        horizon = max(horizon, ?),
        trimmed = coalesce((SELECT max(n) FROM changes), trimmed) + 1,
        measured = coalesce((SELECT max(n) FROM changes), trimmed) + 1
"""
_COUNTED_MAX: Final = 2_000_000  # about 0.1 s
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM sessions LIMIT ?)"

Connection = sqlite3.Connection


@asynccontextmanager
async def dumped(connection: Connection, codec: Codec, *, journal: bool) -> AsyncIterator[AsyncIterator[DumpPage]]:
    """Give what the file of `connection` holds now, page by page; see `Dumped.dump`. Closes the connection."""
    turns = await Turns.begin("the database's dump", connection.close)
    try:
        dump = _Dump(connection, codec)
        await turns.do(partial(_told, dump.begin))
        yield _pages(turns, dump, journal=journal)
    finally:
        await turns.close()


async def _pages(turns: Turns, dump: _Dump, *, journal: bool) -> AsyncIterator[DumpPage]:
    for read in (dump.records, dump.entries) if journal else (dump.records,):
        after: int | None = _START
        while after is not None:
            page, after = await turns.do(partial(_told, partial(read, after)))
            yield page


class _Dump:
    """Reads pages of one moment; in one thread."""

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        self._term = 0
        self._expected = 0
        self._entries = statement("dump_entries")

    def begin(self) -> None:
        """Choose the moment: from the first look on, a transaction sees nothing newer."""
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._connection.execute("BEGIN")
        (self._term,) = self._connection.execute("SELECT value FROM counters WHERE name = 'term'").fetchone()

        (count,) = self._connection.execute(_COUNT, (_COUNTED_MAX,)).fetchone()
        columns = {row[1] for row in self._connection.execute("PRAGMA table_info(journal)")}
        for added in {"origin", "sealed"} - columns:  # it is of an earlier schema
            self._entries = self._entries.replace(f"journal.{added}", "0")
        self._expected = count if count < _COUNTED_MAX else 0

    def records(self, after: int) -> tuple[DumpPage, int | None]:
        """Return records behind the number `after`, and where they end, None at the end of all."""
        page = DumpPage(term=self._term, expected=self._expected)
        self._expected = 0
        rows, end = self._rows(statement("dump_sessions"), after)
        for _, *row in rows:
            try:
                page.records.append(record_from(row, self._codec))
            except Corrupt:
                page.damaged.append(str(row[0]))
        return page, end

    def entries(self, after: int) -> tuple[DumpPage, int | None]:
        """Return entries behind the number `after`, and where they end, None at the end of all."""
        rows, end = self._rows(self._entries, after)
        entries: list[DumpedEntry] = []
        lost = 0
        for n, session_id, *row in rows:
            try:
                entries.append(DumpedEntry(session_id, n, entry_from(row, session_id, self._codec)))
            except Corrupt:
                lost += 1
        return DumpPage(term=self._term, entries=entries, lost_entries=lost), end

    def _rows(self, text: str, after: int) -> tuple[list[Any], int | None]:
        rows: list[Any] = []
        size_bytes = 0
        for row in self._connection.execute(text, (after, _ITEMS)):
            rows.append(row)
            size_bytes += sum(len(value) for value in row if isinstance(value, bytes))
            if size_bytes > _BYTES:
                return rows, row[0]
        return rows, rows[-1][0] if len(rows) == _ITEMS else None


async def load(connection: Connection, codec: Codec, now: float, pages: AsyncIterable[DumpPage]) -> None:
    """Fill the file of `connection` as one transaction at `now`; see `Dumped.load`. Closes the connection.

    What was loaded is not in the feed, which begins anew: whoever followed it is told to read everything.
    Other writers wait 4 s for it, and are refused then.
    """
    turns = await Turns.begin("the database's load", connection.close)
    try:
        await turns.do(partial(_told, partial(_begin, connection, now)))
        try:
            async for page in pages:
                await turns.do(partial(_told, partial(_write, connection, codec, now, page)))
            await turns.do(partial(_told, lambda: connection.execute("COMMIT")))
        except BaseException:
            await turns.do(partial(_told, partial(_undo, connection)))
            raise
    finally:
        await turns.close()


def _begin(connection: Connection, now: float) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT EXISTS (SELECT 1 FROM sessions)").fetchone()[0]:
        raise Misused("the store has sessions already; load into an empty one")
    # What is left of the journals of deleted sessions is nobody's, and its numbers are wanted.
    for table in ("journal", "journal_sizes", "journal_left"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute(_FEED_ANEW, (now,))
    for table in ("changes", "feed_parts"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("INSERT INTO feed_parts SELECT trimmed + 1, NULL, 0.0, 0 FROM feed")


def _write(connection: Connection, codec: Codec, now: float, page: DumpPage) -> None:
    sessions = ((*Put(record, codec, durable=False, at=now).rows[0], 0) for record in page.records)
    try:
        _insert(connection, "load_sessions", sessions)
        _insert(connection, "load_entries", (_entry_row(each, codec) for each in page.entries))
    except sqlite3.IntegrityError as error:
        raise Corrupt(f"a session or an entry is there twice: {error}") from error
    connection.execute("UPDATE counters SET value = max(value, ?) WHERE name = 'term'", (page.term,))


def _entry_row(dumped: DumpedEntry, codec: Codec) -> tuple[Any, ...]:
    append = Append(dumped.session_id, dumped.entry.term, [dumped.entry])
    if not codec.is_plain:
        append.seal(codec)
    (session_id, stream, _, *rest), *_ = append.rows
    return (dumped.number, session_id, stream, *rest)


def _insert(connection: Connection, name: str, found: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows, a thousand in one statement: each call gives the interpreter away and waits for it again."""
    rows = list(found)
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        text = statement(name, len(part), len(part[0]))
        connection.execute(text, [value for row in part for value in row])


def _undo(connection: Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _told(run: Callable[[], T]) -> T:
    """Run it; say what an error of SQLite means."""
    try:
        return run()
    except sqlite3.Error as error:
        meaning = translated(error)
        raise meaning from error
