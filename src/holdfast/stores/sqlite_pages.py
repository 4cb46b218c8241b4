"""Finds records of a SQLite store page by page: scans, lists of ids, and what is due. Runs on the reader's thread.

A record that cannot be read, damaged, of a newer format or sealed under a missing key, concerns its own session only:
it is left out, and told.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final, NamedTuple

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt, KeyMissing, Misused
from ..model.session import Record
from .contract import IdPage, Page, Query
from .left_out import LeftOut
from .sqlite_file import statement
from .sqlite_reader import record_from

_WINDOW: Final = 5000  # rows that one page of a scan looks at
_CURSOR_MAX: Final = 2**63 - 1


class Due(NamedTuple):
    """Where a page of what is due ended, by deadline and number; the default is the beginning."""

    deadline: float = float("-inf")
    n: int = 0


class Pages:
    """Reads pages of one file. Each unreadable session is logged once, of the first 1,000."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._left_out = LeftOut("session %s is left out of scans and sweeps: %s")

    def scan(self, connection: sqlite3.Connection, query: Query, cursor: str | None, limit: int) -> Page:
        """Return up to `limit` records; the page ends where it is full, or with the window it looks at."""
        window = max(_WINDOW, limit)
        wanted = {
            "after": _row_from(cursor),
            "window": window,
            "limit": limit,
            "owner": query.owner,
            "state": query.state,
            "prefix": query.prefix,
        }
        *rows, (window_end, _, looked_at, *_) = connection.execute(statement("scan"), wanted).fetchall()
        records, cursors = [], []
        for n, *row in rows:
            record = self._readable(row)
            if record is not None and query.matches(record):
                records.append(record)
                cursors.append(str(n))
        if len(rows) == limit:
            return Page(records, cursors, str(rows[-1][0]))
        return Page(records, cursors, str(window_end) if looked_at == window else None)

    def ids(
        self, connection: sqlite3.Connection, now: float, cursor: str | None, limit: int
    ) -> tuple[IdPage, list[tuple[str, float, float]]]:
        """Return the ids among the next `limit` rows, and id, timeout and end of those that accesses may keep.

        No body is read, so damage hides none.
        """
        wanted = {"after": _row_from(cursor), "limit": limit, "now": now}
        (end, looked_at, there), *late = connection.execute(statement("ids"), wanted).fetchall()
        return IdPage(msgspec.json.decode(there, type=list[str]), str(end) if looked_at == limit else None), late

    def due(
        self, connection: sqlite3.Connection, now: float, after: Due, limit: int
    ) -> tuple[list[Record], Due | None]:
        """Return what is readable of the next `limit` rows that are due, and where they end, or None at the end."""
        wanted = {"now": now, "deadline": after.deadline, "n": after.n, "limit": limit}
        rows = connection.execute(statement("due"), wanted).fetchall()
        found = [record for _, _, *row in rows if (record := self._readable(row)) is not None]
        return found, Due(*rows[-1][:2]) if len(rows) == limit else None

    def _readable(self, row: list[Any]) -> Record | None:
        try:
            return record_from(row, self._codec)
        except (Corrupt, KeyMissing, Misused) as error:
            self._left_out.tell(row[0], error)
            return None


def _row_from(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or int(cursor[:20]) > _CURSOR_MAX:
        raise Misused("this is not a cursor of a SQLite store; pass one that its scan returned")
    return int(cursor)
