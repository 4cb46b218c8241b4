"""The journal of a SQLite store: reading it, and keeping it within its bounds."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .contract import Entry, JournalBounds, Kind, OpenStream
from .sqlite_file import statement

Connection = sqlite3.Connection


def read_entries(
    connection: Connection, session_id: str, stream: str, after: tuple[int, int], limit: int
) -> list[Entry]:
    """Return up to `limit` entries of the stream behind the position, in order."""
    rows = connection.execute(statement("read"), (session_id, stream, *after, limit))
    return [_entry(row) for row in rows]


def read_unfinished(connection: Connection, session_id: str) -> list[OpenStream]:
    """Return the streams that no final entry closes, oldest first."""
    rows = connection.execute(statement("unfinished"), (session_id,))
    return [OpenStream(_entry(entry), last_seq) for *entry, last_seq in rows]


class SqliteTrim:
    """Finds on the reader what goes, and deletes it on the writer in steps of 1,000, so that nobody waits long."""

    def __init__(
        self,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        write: Callable[[Callable[[Connection], int]], Awaitable[int]],
    ) -> None:
        self._read = read
        self._write = write

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        """Trim by age, then each session, then all together; return how many entries went."""
        oldest = {"oldest": now - bounds.age_s_max}
        trimmed = await self._delete("trim_aged", oldest) + await self._delete("trim_streams", oldest)
        sizes = await self._read(lambda connection: connection.execute(statement("trim_sizes")).fetchall())
        for session, entries, size_bytes in sizes:
            excess = {
                "session": session,
                "entries": entries - bounds.session_entries_max,
                "bytes": size_bytes - bounds.session_bytes_max,
            }
            if excess["entries"] > 0 or excess["bytes"] > 0:
                trimmed += await self._cut("trim_session_cut", excess, session)
        total = await self._read(lambda connection: connection.execute(statement("trim_total")).fetchone()[0])
        if total > bounds.total_bytes_max:
            trimmed += await self._cut("trim_total_cut", {"bytes": total - bounds.total_bytes_max}, None)
        return trimmed

    async def _cut(self, name: str, excess: dict[str, int], session: int | None) -> int:
        up_to = await self._read(lambda connection: connection.execute(statement(name), excess).fetchone()[0])
        return await self._delete("trim_messages", {"session": session, "up_to": up_to})

    async def _delete(self, name: str, values: dict[str, Any]) -> int:
        trimmed = 0
        while gone := await self._write(lambda connection: connection.execute(statement(name), values).rowcount):
            trimmed += gone
        return trimmed


def _entry(row: Sequence[Any]) -> Entry:
    stream, term, seq, kind, at, data, request = row
    return Entry(stream, term, seq, Kind(kind), at, data, request)
