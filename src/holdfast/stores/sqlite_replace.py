"""Puts a new SQLite store in the place of another: its log first becomes part of its file, then one rename decides.

Invariant: the log of a file is never beside another file of its name, for SQLite would write it into that.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ..codec import PLAIN
from ..model.errors import Conflict, Corrupt, HoldfastError, Unavailable
from ..model.session import Record
from .disk import sync
from .replace import Old, Workshop
from .sqlite_faults import address_of, check_place, code_of, not_opened, translated
from .sqlite_file import connect, recognise
from .sqlite_repair import LOCKS, LOCKS_AT

_ALIVE: Final = (
    "SELECT * FROM sessions WHERE id IN (SELECT value FROM json_each(?)) AND state = 'active' AND deadline > ?"
)
_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class SqliteReplacement:
    """Replaces the file at `path`: `Replacement`."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._given = path
        self._workshop = Workshop(self._path)
        self._new = self._workshop.folder / "new.db"
        self._old: sqlite3.Connection | None = None
        self._is_there = False
        self._sessions = 0

    @property
    def new_url(self) -> str:
        return f"{address_of(self._new)}?durability=off"

    def begin(self) -> Old:
        check_place(self._given)
        self._workshop.open()
        self._is_there = self._path.exists()
        if not self._is_there:
            return Old()
        try:
            self._old = connect(self._path)
            # Before the first look: from that on nobody else can open it (sqlite.org/pragma.html#pragma_locking_mode).
            self._old.execute("PRAGMA busy_timeout = 0")
            self._old.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._old.execute("BEGIN EXCLUSIVE")
            schema = recognise(self._old, self._path)
            self._old.execute("COMMIT")
            return self._described() if schema else Old()
        except sqlite3.Error as error:
            if code_of(error) in _LOCKED:
                raise self._open_elsewhere() from error
            meaning = not_opened(self._path, error)
            if not isinstance(meaning, Corrupt):
                raise meaning from error
            self._let_go()
            self._sessions = 1  # nobody knows, so it is kept
            return Old(damage=str(error))

    def _described(self) -> Old:
        assert self._old is not None
        (sessions,) = self._old.execute("SELECT count(*) FROM sessions").fetchone()
        (term,) = self._old.execute("SELECT value FROM counters WHERE name = 'term'").fetchone()
        self._sessions = sessions
        return Old(sessions=sessions, term=term)

    def alive(self, records: Sequence[Record], now: float) -> set[str]:
        if self._old is None:
            return set()
        born = {record.id: record.created_at for record in records}
        wanted = msgspec.json.encode(list(born)).decode()
        try:
            found = self._old.execute(_ALIVE, (wanted, now))
            columns = [column for column, *_ in found.description]
            rows = (dict(zip(columns, row, strict=True)) for row in found.fetchall())
            return {row["id"] for row in rows if _created_at(row) == born[row["id"]]}
        except sqlite3.Error as error:
            meaning = translated(error)
            raise meaning from error

    def exchange(self) -> str:
        try:
            self._let_go()  # which brings its log into its file
            sync(self._new)
            if not self._is_there:
                return self._put_where_none_was()
            with self._path.open("r+b") as old:
                self._lock(old)
                return self._exchanged(old)
        except OSError as error:
            raise Unavailable(f"{self._path} could not be replaced: {error.strerror or error}") from error

    def close(self) -> None:
        self._let_go()
        self._workshop.close()

    def _exchanged(self, old: BinaryIO) -> str:
        was = os.fstat(old.fileno())
        self._new.chmod(was.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(self._new, was.st_uid, was.st_gid)
        kept = self._workshop.name_to_keep() if self._sessions else None
        if kept is not None:
            os.link(self._path, kept)
        self._put_log_aside(kept)
        sync(self._path.parent)
        self._new.rename(self._path)
        sync(self._path.parent)
        return "" if kept is None else str(kept)

    def _put_where_none_was(self) -> str:
        if self._path.exists():
            raise self._made_meanwhile()
        self._put_log_aside(None)
        try:
            os.link(self._new, self._path)
        except FileExistsError as error:
            raise self._made_meanwhile() from error
        sync(self._path.parent)
        return ""

    def _put_log_aside(self, kept: Path | None) -> None:
        """Take what SQLite keeps beside the file away; the log of one that cannot be read stays with it."""
        log = self._path.with_name(self._path.name + "-wal")
        if log.exists():
            if kept is not None and log.stat().st_size:
                os.link(log, kept.with_name(kept.name + "-wal"))
            log.unlink()
        self._path.with_name(self._path.name + "-shm").unlink(missing_ok=True)

    def _lock(self, old: BinaryIO) -> None:
        """Keep others from opening the old one while names change; whoever waits for it looks again (sqlite.py)."""
        try:
            fcntl.lockf(old, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCKS, LOCKS_AT)
        except BlockingIOError as error:
            raise self._open_elsewhere() from error

    def _let_go(self) -> None:
        if self._old is not None:
            self._old.close()
            self._old = None

    def _made_meanwhile(self) -> HoldfastError:
        return Conflict(f"somebody made {self._path} meanwhile; look what it is, and restore again")

    def _open_elsewhere(self) -> HoldfastError:
        return Conflict(f"a process has {self._path} open; stop the server first, then restore")


def _created_at(row: dict[str, Any]) -> float:
    """Return when a session was created; what earlier schemas wrote says so in its body only, which is in clear."""
    at: float | None = row.get("created_at")
    return PLAIN.open(row["body"], row["id"]).created_at if at is None else at
