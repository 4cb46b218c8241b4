"""The only writer of a SQLite file in this process: what waits is written as one statement per kind of act."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..codec import PLAIN, Codec
from ..model.errors import HoldfastError, Moved, NotFound, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from .sqlite_acts import Append, Delete, Put, Run, Touch, Write, grouped
from .sqlite_address import Durability
from .sqlite_faults import translated
from .sqlite_file import statement, transaction

# A bound on the log for the case that checkpoints fail: they are made by another thread (sqlite_checkpoint.py).
_LOG_PAGES_MAX: Final = 100_000
_PAGES_A_ROW: Final = 3
# PRAGMA synchronous for what is not durable and for what is.
_LEVELS: Final[dict[Durability, tuple[str, str]]] = {
    "full": ("NORMAL", "FULL"),
    "interval": ("NORMAL", "NORMAL"),
    "off": ("OFF", "OFF"),
}
_PAGE_BYTES: Final = 4096


class Stored(NamedTuple):
    """What decides whether a session may be written; `created_at` None: an earlier schema wrote it."""

    version: int
    term: int
    created_at: float | None


class Writer:
    """Writes batches of acts; runs on the writer's thread only.

    Each group is a transaction of its own, and one statement: autocommit, no BEGIN, no COMMIT. With "full" durability
    an fsync follows when anything in the group is durable (`PRAGMA synchronous`, sqlite.org/pragma.html).
    `pages_written` grows by about as many pages as were written; `trouble` is what kept the last group from being
    written, "" when nothing did.
    """

    def __init__(self, connection: sqlite3.Connection, durability: Durability = "full", codec: Codec = PLAIN) -> None:
        self._connection = connection
        self._codec = codec
        self._levels = _LEVELS[durability]
        self.trouble = ""
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES_MAX}")
        self._synchronous = ""
        self.pages_written = 0

    def write(self, acts: Sequence[Write]) -> None:
        """Write `acts`; each is told its result or its error, and no error of one group stops the next."""
        for group in grouped(acts):
            try:
                self._synchronise(self._levels[any(act.durable for act in group)])
                self._write(group)
                self.trouble = ""
            except Exception as error:  # it belongs to the callers of this group
                meaning = translated(error)
                if meaning is not error:
                    self.trouble = str(meaning)
                for act in group:
                    act.error = meaning

    def _write(self, group: list[Write]) -> None:
        first = group[0]
        if not self._codec.is_plain:
            for act in group:
                if isinstance(act, Append):
                    act.seal(self._codec)
        rows = [row for act in group for row in act.rows]
        self.pages_written += _PAGES_A_ROW * len(rows) + sum(act.bytes for act in group) // _PAGE_BYTES
        if isinstance(first, Put):
            self._write_or_look("put", rows, group)
        elif isinstance(first, Append):
            self._write_or_look("append", rows, group)
        elif isinstance(first, Delete):
            deleted = {row[0] for row in self._execute("delete", rows)}
            for act in group:
                act.result = act.session_id in deleted
        elif isinstance(first, Touch):
            self._execute("touch", rows)
        elif isinstance(first, Run):
            changes = self._connection.total_changes
            try:
                first.result = first.run(self._connection)
            finally:
                self.pages_written += self._connection.total_changes - changes

    def _write_or_look(self, name: str, rows: list[tuple[Any, ...]], group: list[Write]) -> None:
        try:
            self._execute(name, rows)
        except sqlite3.IntegrityError:
            # One or more are refused: look which, and write the others.
            with transaction(self._connection):
                stored = self._look({act.session_id for act in group})
                for act in group:
                    act.error = _refusal(act, stored.get(act.session_id))
                rows = [row for act in group if act.error is None for row in act.rows]
                if rows:
                    self._execute(name, rows)

    def _look(self, session_ids: Iterable[str]) -> dict[str, Stored]:
        wanted = msgspec.json.encode(list(session_ids)).decode()
        found = self._connection.execute(statement("look"), (wanted,)).fetchall()
        return {session_id: Stored(*stored) for session_id, *stored in found}

    def _execute(self, name: str, rows: list[tuple[Any, ...]]) -> list[Any]:
        text = statement(name, len(rows), len(rows[0]))
        return self._connection.execute(text, [value for row in rows for value in row]).fetchall()

    def _synchronise(self, level: str) -> None:
        if level != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {level}")
            self._synchronous = level


def _refusal(act: Write, stored: Stored | None) -> HoldfastError | None:
    """Return why the act may not be written, given what is stored."""
    shown = redacted(act.session_id)
    if isinstance(act, Put):
        return _put_refusal(act.record, stored, shown)
    assert isinstance(act, Append)
    if stored is None:
        return NotFound(f"session {shown} is not there")
    if stored.term > act.term:
        return Moved(f"session {shown} has term {stored.term}; the entries came from {act.term}")
    return None


def _put_refusal(record: Record, stored: Stored | None, shown: str) -> HoldfastError | None:
    expected = record.version - 1
    if stored is None:
        return VersionConflict(f"session {shown} is gone; version {expected} was expected") if expected else None
    if stored.term > record.term:
        return Moved(f"session {shown} has term {stored.term}; the write came from {record.term}")
    if stored.version != expected:
        return VersionConflict(f"session {shown} has version {stored.version}; version {expected} was expected")
    if stored.created_at not in (None, record.created_at):
        return VersionConflict(f"session {shown} is another one, created later under the same id")
    return None
