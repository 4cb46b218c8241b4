"""The feed of a SQLite store: read back, and kept within its bounds. Triggers write it (schema_5.sql)."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt, KeyMissing, Misused
from ..model.session import Record
from .contract import Change, ChangeKind, Changes, FeedBounds, Past
from .feed_cursor import FeedCursor, cursor_from, elsewhere, expired, mark_of, too_early
from .feed_parts import Part, given_up
from .left_out import LeftOut
from .sqlite_file import statement, transaction

Connection = sqlite3.Connection

_WINDOW: Final = 2000  # rows that one page of the past looks at
_PAGE_BYTES: Final = 8 * 2**20
_STEP: Final = 1000
_STEP_BYTES: Final = 8 * 2**20
_MEASURED: Final = 10_000
_KINDS: Final = frozenset(map(int, ChangeKind))

_replaced: Final = msgspec.structs.replace


class _Standing(NamedTuple):
    store: str
    horizon: float
    trimmed: int
    newest: int
    id: str | None
    at: float
    kind: int

    @property
    def mark(self) -> int:
        return 0 if self.id is None else mark_of(self.id, self.at, self.kind)


class SqliteFeed:
    """Reads the feed on the reader's thread, and trims it on the writer's in steps, so that nobody waits long."""

    def __init__(
        self,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        write: Callable[[Callable[[Connection], int]], Awaitable[int]],
        codec: Codec,
    ) -> None:
        self._codec = codec
        self._read = read
        self._write = write
        self._left_out = LeftOut("a change of session %s is left out of the feed: %s")

    async def changes(self, after: str | None, limit: int) -> Changes:
        """Do what `Feed.changes` does."""
        cursor = None if after is None else cursor_from(after)
        changes: Changes = await self._read(partial(self._changes, cursor=cursor, limit=limit))
        return changes

    async def position(self) -> str:
        """Do what `Feed.position` does."""
        standing: _Standing = await self._read(_standing)
        return str(FeedCursor(standing.store, standing.newest, standing.mark))

    async def state_at(self, at: float, changed: bool, cursor: str | None, limit: int) -> Past:
        """Do what `Feed.state_at` does: first by what is stored, then by what was changed since."""
        place = _place(("c0" if changed else "s0") if cursor is None else cursor)
        past: Past = await self._read(partial(self._past, at=at, place=place, limit=limit))
        return past

    async def trim(self, bounds: FeedBounds, now: float) -> int:
        """Do what `Feed.trim_changes` does."""
        while await self._write(partial(_measured, bounds=bounds, now=now)):
            pass
        trimmed = 0
        wanted = {"step": _STEP, "step_bytes": _STEP_BYTES}
        while gone := await self._write(lambda connection: connection.execute(statement("feed_trim"), wanted).rowcount):
            trimmed += gone
        return trimmed

    def _changes(self, connection: Connection, cursor: FeedCursor | None, limit: int) -> Changes:
        wanted = {"after": 0 if cursor is None else cursor.n, "limit": limit}
        rows: list[tuple[Any, ...]] = []
        size_bytes = 0
        for row in connection.execute(statement("changes"), wanted):
            rows.append(row)
            size_bytes += len(row[-1])
            if size_bytes >= _PAGE_BYTES:
                break
        # Invariant: this is read last. Whatever was trimmed before the rows were read is known here.
        standing = _standing(connection, None if cursor is None else cursor.n)
        if cursor is None:
            cursor = FeedCursor(standing.store, standing.trimmed, 0)
        elif cursor.store != standing.store:
            raise elsewhere()
        elif cursor.n < standing.trimmed or (cursor.n > standing.trimmed and cursor.mark != standing.mark):
            raise expired(lost=cursor.n > standing.trimmed)
        changes: list[Change] = []
        for row in rows:
            try:
                change = self._change(standing.store, row)
            except (KeyMissing, Misused):
                if not changes:
                    raise
                return Changes(changes, str(cursor), False)  # whoever goes on from there is told why
            n, session_id, at, kind, *_ = row
            cursor = FeedCursor(standing.store, n, mark_of(session_id, at, kind))
            if change is not None:
                changes.append(change)
        return Changes(changes, str(cursor), len(rows) < limit and size_bytes < _PAGE_BYTES)

    def _change(self, store: str, row: tuple[Any, ...]) -> Change | None:
        """Return the change in a row, None where it is damaged."""
        n, session_id, at, kind, last_accessed, body = row
        if kind not in _KINDS or not isinstance(at, float) or not isinstance(last_accessed, float | None):
            self._left_out.tell(session_id, "its row is damaged")
            return None
        record = self._readable(session_id, body, last_accessed)
        if record is None:
            return None
        return Change(ChangeKind(kind), at, record, str(FeedCursor(store, n, mark_of(session_id, at, kind))))

    def _past(self, connection: Connection, at: float, place: tuple[str, int], limit: int) -> Past:
        phase, after = place
        window = min(_WINDOW, max(limit, 1))
        name = "past_stored" if phase == "s" else "past_changed"
        wanted = {"after": after, "window": window, "at": at}
        *rows, (end, _, looked_at) = connection.execute(statement(name), wanted).fetchall()
        horizon = _standing(connection).horizon  # read last, as above
        if at < horizon:
            raise too_early(at, horizon)
        records = [
            record for _, session_id, body in rows if (record := self._readable(session_id, body, None)) is not None
        ]
        if looked_at == window:
            return Past(records, f"{phase}{end}")
        return Past(records, "c0" if phase == "s" else None)

    def _readable(self, session_id: str, body: bytes, last_accessed: float | None) -> Record | None:
        if not isinstance(session_id, str) or not isinstance(body, bytes):
            self._left_out.tell(session_id, "its row is damaged")
            return None
        try:
            record = self._codec.open(body, session_id)
        except Corrupt as error:
            self._left_out.tell(session_id, error)
            return None
        if last_accessed is None or last_accessed == record.last_accessed:
            return record
        return _replaced(record, last_accessed=last_accessed)


def _place(cursor: str) -> tuple[str, int]:
    if cursor[:1] not in ("s", "c") or not cursor[1:].isascii() or not cursor[1:].isdigit() or len(cursor) > 20:
        raise Misused("this is not a cursor of the past of a SQLite store; pass one that it returned")
    return cursor[0], int(cursor[1:])


def _standing(connection: Connection, n: int | None = None) -> _Standing:
    return _Standing(*connection.execute(statement("feed"), {"n": n}).fetchone())


def _measured(connection: Connection, bounds: FeedBounds, now: float) -> bool:
    """Measure a step of what came since; at the end of it, begin a new part and give up old ones. Tell if more is left.

    Invariant: the horizon is moved together with what says which changes go, and before they do.
    """
    with transaction(connection):
        count, last, *measured = connection.execute(statement("feed_measure"), {"step": _MEASURED}).fetchone()
        *parts, part = (Part(*row) for row in connection.execute("SELECT * FROM feed_parts ORDER BY first"))
        if count:
            part = part.with_step(*measured)
            connection.execute("UPDATE feed SET measured = ?", (last,))
            connection.execute("REPLACE INTO feed_parts VALUES (?, ?, ?, ?)", part)
        if count == _MEASURED:
            return True
        parts.append(part)
        if part.is_full(bounds, now):
            parts.append(Part(connection.execute("SELECT measured + 1 FROM feed").fetchone()[0]))
            connection.execute("INSERT INTO feed_parts VALUES (?, ?, ?, ?)", parts[-1])
        gone = given_up(parts, bounds, now)
        if gone:
            horizon, trimmed = max(part.ended_at for part in parts[:gone]), parts[gone].first - 1
            connection.execute("UPDATE feed SET horizon = max(horizon, ?), trimmed = ?", (horizon, trimmed))
            connection.execute("DELETE FROM feed_parts WHERE first <= ?", (trimmed,))
    return False
