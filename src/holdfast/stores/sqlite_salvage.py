"""Reads what can be read of a damaged SQLite file, row by row, around the pages that cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from typing import Any, Final

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt
from ..model.session import Record
from .sqlite_faults import code_of
from .sqlite_reader import record_from

Row = tuple[Any, ...]

_PAGE: Final = 200
_LAST: Final = 2**63 - 1
_LOST: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR})
RECORD: Final = "id, version, term, last_accessed, body"


class Salvage:
    """Yields the readable rows of one table in the order of its numbers; `unreadable` counts rows that are not.

    Where pages are damaged it looks for the next number that can be reached, in steps that double and then halve.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, columns: str) -> None:
        self.unreadable = 0
        self._connection = connection
        self._table = f"{table} NOT INDEXED"
        self._columns = f"n, {columns}"

    def rows(self) -> Iterator[Row]:
        """Yield (n, columns…) of each row."""
        after = -1
        while True:
            page = self._read(f"WHERE n > ? ORDER BY n LIMIT {_PAGE}", after)
            if page is None:
                end = yield from self._one_by_one(after)
                if end is None:
                    return
                after = end
                continue
            for row in page:
                if row[0] > after:
                    after = row[0]
                    yield row
            if len(page) < _PAGE:
                return

    def _one_by_one(self, after: int) -> Generator[Row, None, int | None]:
        """Yield the rows of one page; return where it ended, None at the end."""
        for _ in range(_PAGE):
            number = self._number_from(after + 1)
            if number is None:
                reached = self._next_reachable(after)
                if reached is None:
                    return None
                after = reached
                continue
            if number <= after:
                return None
            page = self._read("WHERE n = ?", number)
            if page:
                yield page[0]
            else:
                self.unreadable += 1
            after = number
        return after

    def _next_reachable(self, after: int) -> int | None:
        """Return the number before the next one that can be reached, or None when there is none."""
        unreachable, step = after, 1
        while True:
            reached = min(after + step, _LAST)
            if self._number_from(reached) is not None:
                break
            if reached == _LAST:
                return None
            unreachable, step = reached, step * 2
        while reached - unreachable > 1:
            middle = (reached + unreachable) // 2
            if self._number_from(middle) is None:
                unreachable = middle
            else:
                reached = middle
        return reached - 1

    def _number_from(self, start: int) -> int | None:
        """Return the first number from `start` on, 0 when there is none, None when it cannot be reached."""
        try:
            found = self._connection.execute(
                f"SELECT n FROM {self._table} WHERE n >= ? ORDER BY n LIMIT 1", (start,)
            ).fetchone()
        except sqlite3.DatabaseError as error:
            _raise_others(error)
            return None
        return 0 if found is None else int(found[0])

    def _read(self, condition: str, value: int) -> list[Row] | None:
        text = f"SELECT {self._columns} FROM {self._table} {condition}"
        try:
            return self._connection.execute(text, (value,)).fetchall()
        except sqlite3.DatabaseError as error:
            _raise_others(error)
            return None


def ids_in_index(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield the ids that the index of ids can still name, from both of its ends up to what is damaged."""
    for direction, compare, start in (("ASC", ">", ""), ("DESC", "<", "\U0010ffff")):
        after = start
        while True:
            try:
                page = connection.execute(
                    f"SELECT id FROM sessions INDEXED BY sqlite_autoindex_sessions_1 WHERE id {compare} ?"
                    f" ORDER BY id {direction} LIMIT {_PAGE}",
                    (after,),
                ).fetchall()
            except sqlite3.DatabaseError as error:
                _raise_others(error)
                break
            yield from (session_id for (session_id,) in page)
            if len(page) < _PAGE:
                return
            after = page[-1][0]


def record_in(row: Row, codec: Codec) -> Record:
    """Return the record in the columns `RECORD`, by its body alone where the others do not fit it.

    Raises:
        Corrupt: The body is damaged.
        KeyMissing: It is sealed under a key that is not in the key ring.
        Misused: A newer version of Holdfast wrote it.
    """
    session_id, _, _, last_accessed, body = row
    try:
        return record_from(row, codec)
    except Corrupt:
        if not isinstance(body, bytes) or not isinstance(session_id, str):
            raise
        record = codec.open(body, session_id)
        if isinstance(last_accessed, float) and last_accessed > record.last_accessed:
            return msgspec.structs.replace(record, last_accessed=last_accessed)
        return record


def _raise_others(error: sqlite3.DatabaseError) -> None:
    """Raise what is no damage."""
    if code_of(error) not in _LOST:
        raise error
