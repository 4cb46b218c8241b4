"""What is sealed in a SQLite file: found and sealed anew, and the dictionaries to compress with.

A step looks for what lies under other keys on the reader's thread, and seals that anew on the writer's, in one
transaction that looks again: whatever another process did in between stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ..codec import Codec
from ..codec.envelope import key_of
from ..model.errors import Corrupt, HoldfastError, KeyMissing, Misused
from .contract import Entry, Kind
from .sealed_entries import entry_context, sealed_content, with_content
from .sealing import SAMPLES_MAX, SAMPLES_MIN, Step, dictionary_context, resealed
from .sqlite_faults import translated
from .sqlite_file import connect, statement, transaction

Connection = sqlite3.Connection

_WINDOW: Final = 2000  # rows that are looked at at once
_ROWS: Final = 200
_BYTES: Final = 4 * 2**20
_SAMPLES_AT_ONCE: Final = 200
_SCHEMA: Final = 6  # the first that has columns for it
_IN_CLEAR: Final = ("sessions", "journal")
_COLUMNS: Final = ("sessions.body", "changes.body", "changes.before", "journal.data")
_LAST: Final = 2**63 - 1
_NEWEST: Final = "SELECT n, body FROM dictionaries ORDER BY n DESC LIMIT 1"
_OF_NUMBER: Final = "SELECT n, body FROM dictionaries WHERE n = ?"
_FIRST: Final = "INSERT INTO dictionaries SELECT 1, ? WHERE NOT EXISTS (SELECT 1 FROM dictionaries)"
_NOT_TOLD: Final = (
    "SELECT n, id, body FROM sessions"
    " WHERE n IN (SELECT value FROM json_each(?)) AND created_at IS NULL AND typeof(body) = 'blob'"
)
_ENOUGH: Final = "SELECT count(*) FROM (SELECT 1 FROM sessions LIMIT ?)"


class _Place(NamedTuple):
    column: str
    after: int = 0

    def statement(self, act: str, *shape: int) -> str:
        """Return the statement for an act on what lies here."""
        table, _, body = self.column.partition(".")
        if table == "journal":
            return statement(f"{act}_journal", *shape)
        return statement(f"{act}_records", *shape).replace("/*table*/", table).replace("/*body*/", body)


class _Found(NamedTuple):
    numbers: list[int]
    next: _Place | None


class SqliteSealed:
    """What one file keeps sealed: `Sealed`."""

    def __init__(
        self,
        codec: Codec,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        write: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
    ) -> None:
        self._codec = codec
        self._read = read
        self._write = write

    async def reseal(self, place: _Place | None) -> Step:
        if place is None:
            kept = await self._write(partial(_reseal_dictionaries, codec=self._codec))
            return Step(0, kept, _Place(_COLUMNS[0]))
        found = await self._read(partial(_stale, place=place, start=self._codec.start))
        done, kept = 0, []
        if found.numbers:
            done, kept = await self._write(partial(_reseal, place=place, numbers=found.numbers, codec=self._codec))
        return Step(done, kept, found.next)

    async def dictionary(self) -> tuple[int, bytes] | None:
        newest: tuple[int, bytes] | None = await self._read(partial(_newest, codec=self._codec))
        return newest

    async def samples(self) -> list[bytes]:
        samples: list[bytes] = []
        before = _LAST
        if await self._read(lambda it: it.execute(_ENOUGH, (SAMPLES_MIN,)).fetchone()[0]) < SAMPLES_MIN:
            return samples
        for _ in range(SAMPLES_MAX // _SAMPLES_AT_ONCE):
            page, before = await self._read(partial(_samples, before=before, codec=self._codec))
            samples += page
            if before == 0:
                break
        return samples

    async def keep_dictionary(self, dictionary: bytes) -> None:
        body = self._codec.seal_bytes(dictionary, dictionary_context(1))
        await self._write(lambda connection: connection.execute(_FIRST, (body,)).rowcount)


def dictionary_in(path: Path, codec: Codec, number: int) -> bytes | None:
    """Return a dictionary kept in the file at `path`; a reader of any thread may want it, once. Blocks."""
    try:
        with closing(connect(path)) as connection:
            row = connection.execute(_OF_NUMBER, (number,)).fetchone()
    except sqlite3.Error as error:
        raise translated(error) from error
    return None if row is None else _opened(row, codec)


def keys_in(connection: Connection, schema: int) -> dict[str, int]:
    """Return how many records and entries there are under each key, "" being none. Reads the beginning of each."""
    if schema < _SCHEMA:
        counted = sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _IN_CLEAR)
        return {"": counted} if counted else {}
    return dict(connection.execute(statement("keys")).fetchall())


def _opened(row: tuple[Any, Any], codec: Codec) -> bytes:
    number, body = row
    if not isinstance(body, bytes):
        raise Corrupt(f"compression dictionary {number} is damaged; restore it from a backup")
    return codec.open_bytes(body, dictionary_context(number), what=f"compression dictionary {number}")


def _newest(connection: Connection, codec: Codec) -> tuple[int, bytes] | None:
    row = connection.execute(_NEWEST).fetchone()
    return None if row is None else (row[0], _opened(row, codec))


def _samples(connection: Connection, before: int, codec: Codec) -> tuple[list[bytes], int]:
    """Return a page of samples and the number that the next one ends before, 0 at the end."""
    rows = connection.execute(statement("samples"), {"before": before, "limit": _SAMPLES_AT_ONCE}).fetchall()
    found = [sample for _, session_id, body in rows if (sample := resealed(partial(codec.sample, body, session_id)))]
    return found, rows[-1][0] if len(rows) == _SAMPLES_AT_ONCE else 0


def _stale(connection: Connection, place: _Place, start: bytes) -> _Found:
    """Return the numbers of a bounded part of what is not sealed as it would be now."""
    wanted = {"after": place.after, "window": _WINDOW, "start": start}
    *rows, (end, looked_at) = connection.execute(place.statement("stale"), wanted).fetchall()
    numbers: list[int] = []
    size_bytes = 0
    for n, row_bytes in rows:
        if numbers and (len(numbers) == _ROWS or size_bytes + row_bytes > _BYTES):
            return _Found(numbers, _Place(place.column, numbers[-1]))
        numbers.append(n)
        size_bytes += row_bytes
    if looked_at == _WINDOW:
        return _Found(numbers, _Place(place.column, end))
    rest = _COLUMNS[_COLUMNS.index(place.column) + 1 :]
    return _Found(numbers, _Place(rest[0]) if rest else None)


def _reseal(connection: Connection, place: _Place, numbers: list[int], codec: Codec) -> tuple[int, list[str]]:
    """Seal rows anew that still need it; return how many, and the keys of those that cannot be."""
    anew: list[tuple[int, bytes]] = []
    kept: list[str] = []
    with transaction(connection):
        wanted = msgspec.json.encode(numbers).decode()
        for row in connection.execute(place.statement("to_reseal"), (wanted,)).fetchall():
            is_record = place.column != "journal.data"
            sealed = _sealed_record(row) if is_record else _sealed_entry(row)
            if sealed.startswith(codec.start):
                continue
            body = resealed(partial(_record_anew if is_record else _entry_anew, row, codec))
            if body is None:
                kept.append(key_of(sealed))
            else:
                anew.append((row[0], body))
        _update(connection, place, anew)
        if place.column == _COLUMNS[0]:
            _tell_when_created(connection, wanted, codec)
    return len(anew), kept


def _tell_when_created(connection: Connection, wanted: str, codec: Codec) -> None:
    """Write what an earlier schema told in the body only: who has not the key must know it too (sqlite_replace.py)."""
    for n, session_id, body in connection.execute(_NOT_TOLD, (wanted,)).fetchall():
        with suppress(Corrupt, KeyMissing, Misused):  # it stays as it is, and whoever reads it is told why
            at = codec.open(body, session_id).created_at
            connection.execute("UPDATE sessions SET created_at = ? WHERE n = ?", (at, n))


def _sealed_record(row: tuple[Any, ...]) -> bytes:
    return row[2] if isinstance(row[2], bytes) else b""


def _record_anew(row: tuple[Any, ...], codec: Codec) -> bytes:
    return codec.reseal(_sealed_record(row), str(row[1]))


def _sealed_entry(row: tuple[Any, ...]) -> bytes:
    """Return what is sealed of an entry; nothing is of one that lies in clear."""
    return row[7] if row[10] and isinstance(row[7], bytes) else b""


def _entry_anew(row: tuple[Any, ...], codec: Codec) -> bytes:
    _, session_id, *place, data, request, origin, is_sealed = row
    stream, term, seq, kind, at = place
    entry = Entry(stream, term, seq, Kind(kind), at, data, request, origin)
    context = entry_context(session_id, entry)
    return sealed_content(codec, context, with_content(codec, context, entry) if is_sealed else entry)


def _reseal_dictionaries(connection: Connection, codec: Codec) -> list[str]:
    anew: list[tuple[int, bytes]] = []
    kept: list[str] = []
    with transaction(connection):
        for n, body in connection.execute("SELECT n, body FROM dictionaries").fetchall():
            if body.startswith(codec.start):
                continue
            try:
                anew.append((n, codec.seal_bytes(_opened((n, body), codec), dictionary_context(n))))
            except HoldfastError:
                kept.append(key_of(body))
        _update(connection, _Place("dictionaries.body"), anew)
    return kept


def _update(connection: Connection, place: _Place, anew: list[tuple[int, bytes]]) -> None:
    if anew:
        text = place.statement("reseal", len(anew), 2)
        connection.execute(text, [value for row in anew for value in row])
