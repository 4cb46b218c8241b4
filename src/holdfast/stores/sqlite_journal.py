"""The journal of a SQLite store: reading it, and keeping it within its bounds."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from ..codec import PLAIN, Codec
from .contract import Entry, JournalBounds, Kind, OpenStream
from .sealed_entries import entry_context, with_content
from .sqlite_file import statement, transaction

Connection = sqlite3.Connection

_STEP: Final = 1000
_STEP_BYTES: Final = 8 * 2**20
_LEFT: Final = "SELECT EXISTS (SELECT 1 FROM journal_left)"


def read_entries(
    connection: Connection, session_id: str, stream: str, after: tuple[int, int], limit: int, codec: Codec = PLAIN
) -> list[Entry]:
    """Return up to `limit` entries of the stream behind the position, in order."""
    rows = connection.execute(statement("read"), (session_id, stream, *after, limit))
    return [entry_from(row, session_id, codec) for row in rows]


def read_unfinished(connection: Connection, session_id: str, codec: Codec = PLAIN) -> list[OpenStream]:
    """Return the streams that no final entry closes, oldest first."""
    rows = connection.execute(statement("unfinished"), (session_id,))
    return [OpenStream(entry_from(entry, session_id, codec), last_seq) for *entry, last_seq in rows]


def read_origins(connection: Connection, session_id: str, first: int, last: int) -> set[int]:
    """Return the origins from `first` to `last` of the entries kept of the session, without 0."""
    wanted = {"id": session_id, "first": first, "last": last}
    return {origin for (origin,) in connection.execute(statement("origins"), wanted)}


class SqliteTrim:
    """Deletes on the writer in steps of at most 1,000 entries or about 8 MiB, so that nobody waits long.

    Each step is a statement that looks itself at what is there: one that fails leaves the work of those before.
    """

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
        of_session = {"messages_max": bounds.session_entries_max, "bytes_max": bounds.session_bytes_max}
        over, total = await self._read(
            lambda connection: connection.execute(statement("trim_over"), of_session).fetchone()
        )
        for session in msgspec.json.decode(over):
            trimmed += await self._delete("trim_session", of_session | {"session": session})
        if total > bounds.total_bytes_max:
            trimmed += await self._delete("trim_total", {"bytes_max": bounds.total_bytes_max})
        return trimmed

    async def sweep(self) -> int:
        """Delete what is left of the journals of deleted sessions; return how many entries went."""
        swept = 0
        wanted = {"step": _STEP, "step_bytes": _STEP_BYTES}
        while await self._read(lambda connection: connection.execute(_LEFT).fetchone()[0]):
            swept += await self._write(lambda connection: _swept(connection, wanted))
        return swept

    async def _delete(self, name: str, values: dict[str, Any]) -> int:
        wanted = values | {"step": _STEP, "step_bytes": _STEP_BYTES}
        trimmed = 0
        while gone := await self._write(lambda connection: connection.execute(statement(name), wanted).rowcount):
            trimmed += gone
        return trimmed


def _swept(connection: Connection, wanted: dict[str, int]) -> int:
    with transaction(connection):
        gone = connection.execute(statement("sweep"), wanted).rowcount
        connection.execute(statement("swept"))
    return gone


def entry_from(row: Sequence[Any], session_id: str, codec: Codec) -> Entry:
    """Return the entry of a row (stream, term, seq, kind, at, data, request, origin, sealed).

    Raises:
        Corrupt, KeyMissing, Misused: As `with_content`.
    """
    stream, term, seq, kind, at, data, request, origin, sealed = row
    entry = Entry(stream, term, seq, Kind(kind), at, data, request, origin)
    return with_content(codec, entry_context(session_id, entry), entry) if sealed else entry
