"""Puts what can be read of a damaged SQLite file in its place, and keeps the damaged one beside it.

All is done in a folder `NAME.repair`: a copy of the file and its log is read there, and a new file is written. Nothing
but renaming touches the store itself. Invariant: while the folder is there, no store is opened; the new file is
complete once it is called `ready.db`, and from then on a repair only ends what was begun.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ..codec import Codec
from ..model.clock import SystemClock
from ..model.errors import Conflict, Corrupt, KeyMissing, Misused, Unavailable
from ..model.ids import redacted
from .disk import sync
from .sqlite_acts import Put
from .sqlite_faults import code_of, not_opened, repair_folder_of
from .sqlite_file import connect, prepare, recognise
from .sqlite_salvage import RECORD, Row, Salvage, ids_in_index, record_in
from .sqlite_sealing import dictionary_in
from .upkeep import NAMED_MAX, Findings, Progress, Repaired

# Where SQLite's locks are, and how many bytes readers share (sqlite.org/src/file/src/os.h). Whoever has the file open
# in WAL mode has a lock on these.
LOCKS_AT: Final = 0x40000002
LOCKS: Final = 510
_BATCH: Final = 1000
_JOURNAL: Final = "session, stream, term, seq, kind, at, data, request"
_LATER: Final = ("origin", "sealed")  # columns that a file of an older schema has not
_KINDS: Final = ((int,), (str,), (int,), (int,), (int,), (float, int), (bytes,), (bytes,), (int,), (int,))
_TERMS_PASSED_OVER: Final = 1000

Find = Callable[[sqlite3.Connection, Progress, Codec], Findings]


class Repair:
    """One repair of the file at `path`."""

    def __init__(self, path: Path, codec: Codec) -> None:
        self._path = path.resolve()
        self._folder = repair_folder_of(path)
        self._copy = self._folder / "copy.db"
        self._codec = codec.of_store(partial(dictionary_in, self._copy, codec))
        self._new = self._folder / "new.db"
        self._ready = self._folder / "ready.db"

    def run(self, progress: Progress, find: Find) -> Repaired:
        """Do it, or end what was broken off; see `Upkeep.repair`."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with self._alone():
                if self._ready.exists():
                    return self._counted(self._exchanged())
                return self._run(progress, find)
        except OSError as error:
            raise Unavailable(
                f"{self._path} could not be repaired: {error.strerror or error}; a repair needs twice its room, and "
                "the right to write to its folder"
            ) from error
        except sqlite3.Error as error:
            if code_of(error) == sqlite3.SQLITE_CORRUPT:
                raise self._nothing_left() from error  # not even what says which tables there are
            raise not_opened(self._path, error) from error

    def _nothing_left(self) -> Corrupt:
        return Corrupt(f"{self._path} has no session that can be read; restore it from a backup")

    def _run(self, progress: Progress, find: Find) -> Repaired:
        try:
            with self._locked() as file:
                self._copy_all(file, progress)
                with closing(connect(self._copy)) as connection:
                    if recognise(connection, self._path) == 0:
                        raise Misused(f"{self._path} is empty; no store was made in it yet")
                    findings = find(connection, progress, self._codec)
                    if findings.newer:
                        raise Misused(f"{self._path} holds records of a newer Holdfast; repair it with that one")
                    if findings.sound:
                        return Repaired(
                            kept="", sessions=findings.records, entries=0, lost_sessions=0, named=(), lost_entries=0
                        )
                    if findings.locked:
                        raise KeyMissing(
                            f"{self._path} holds {findings.locked:,} sessions under keys that were not given; add them "
                            "to the key file",
                            key_id="",
                        )
                    done = self._salvaged(connection, progress)
                progress("putting it in its place", 0, 0)
                kept = self._exchanged()
                return Repaired(**{name: getattr(done, name) for name in done.__struct_fields__} | {"kept": kept})
        finally:
            if not self._ready.exists():
                shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(f"another repair of {self._path} is running; wait for it") from error
            yield

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Keep other processes from opening the file.

        Invariant: it is opened nowhere else meanwhile, for the lock goes with the first descriptor that is closed.
        """
        with self._path.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCKS, LOCKS_AT)
            except BlockingIOError as error:
                raise Conflict(f"a process has {self._path} open; stop the server first, then repair it") from error
            yield file

    def _copy_all(self, file: BinaryIO, progress: Progress) -> None:
        progress("copying", 0, 0)
        for left in self._folder.iterdir():
            if left.name != "lock":
                left.unlink()
        with self._copy.open("wb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
        with suppress(FileNotFoundError):
            shutil.copyfile(_log_of(self._path), _log_of(self._copy))

    def _salvaged(self, source: sqlite3.Connection, progress: Progress) -> Repaired:
        source.text_factory = lambda data: data.decode(errors="replace")
        prepare(self._new, "off")
        with closing(connect(self._new, "off")) as target:
            saved = _sessions(source, target, progress, self._codec)
            entries, lost_entries = _journal(source, target, saved.numbers, progress)
            _term(source, target)
            target.execute("UPDATE feed SET horizon = ?", (SystemClock().now(),))
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        lost = saved.damaged | {each for each in ids_in_index(source) if each not in saved.ids}
        if not saved.ids:
            raise self._nothing_left()
        self._make_ready()
        return Repaired(
            kept="",
            sessions=len(saved.ids),
            entries=entries,
            lost_sessions=max(len(lost), len(saved.damaged) + saved.unreadable),
            named=tuple(redacted(each) for each in sorted(lost)[:NAMED_MAX]),
            lost_entries=lost_entries,
        )

    def _make_ready(self) -> None:
        """Give the new file the owner and mode of the old one, and the name that says that it is complete."""
        was = self._path.stat()
        self._new.chmod(was.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(self._new, was.st_uid, was.st_gid)
        sync(self._new)
        self._new.rename(self._ready)
        sync(self._folder)

    def _exchanged(self) -> str:
        """Give the damaged file another name and the new one its own; return the other name."""
        kept = self._name_to_keep()
        for name, to in ((self._path, kept), (_log_of(self._path), _log_of(kept))):
            if name.exists() and not to.exists():
                os.link(name, to)
        sync(self._path.parent)
        for helper in (_log_of(self._path), self._path.with_name(self._path.name + "-shm")):
            helper.unlink(missing_ok=True)
        self._ready.rename(self._path)
        sync(self._path.parent)
        shutil.rmtree(self._folder)
        return str(kept)

    def _name_to_keep(self) -> Path:
        """Return the first name that is free, or that the file has already because a repair was broken off."""
        number = 1
        while True:
            kept = self._path.with_name(f"{self._path.name}.damaged-{number}")
            if not kept.exists() or kept.samefile(self._path):
                return kept
            number += 1

    def _counted(self, kept: str) -> Repaired:
        """Return what the file of a repair that was broken off holds; what it lost was not written down."""
        with closing(connect(self._path)) as connection:
            sessions, entries = (
                int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for table in ("sessions", "journal")
            )
        return Repaired(kept=kept, sessions=sessions, entries=entries, lost_sessions=0, named=(), lost_entries=0)


class _Saved(NamedTuple):
    numbers: set[int]
    ids: set[str]
    damaged: set[str]
    unreadable: int


def _sessions(source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress, codec: Codec) -> _Saved:
    """Copy the sessions that can be read; return their numbers and ids, and what of the others can be told."""
    numbers: set[int] = set()
    ids: set[str] = set()
    damaged: set[str] = set()
    columns = "n, id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body, written_at"
    # Changed by nothing in the feed, which begins anew.
    text = f"INSERT INTO sessions ({columns}, changed) VALUES ({', '.join('?' * 12)}, 0) ON CONFLICT DO NOTHING"
    salvage = Salvage(source, "sessions", RECORD)
    progress("saving sessions", 0, 0)
    target.execute("BEGIN")
    for number, *row in salvage.rows():
        try:
            values = Put(record_in(tuple(row), codec), codec, durable=False).rows[0]
        except Corrupt:
            damaged.add(str(row[0]))
            continue
        if target.execute(text, (number, *values)).rowcount == 1:
            numbers.add(number)
            ids.add(values[0])
        if len(ids) % _BATCH == 0:
            progress("saving sessions", len(ids), 0)
    target.execute("COMMIT")
    return _Saved(numbers, ids, damaged, salvage.unreadable)


def _journal(
    source: sqlite3.Connection, target: sqlite3.Connection, sessions: set[int], progress: Progress
) -> tuple[int, int]:
    """Copy the entries of `sessions` that can be read; return how many, and how many messages are not among them."""
    names = {row[1] for row in source.execute("PRAGMA table_info(journal)")}
    later = ", ".join(name if name in names else "0" for name in _LATER)
    columns = f"n, {_JOURNAL}, {', '.join(_LATER)}"
    text = f"INSERT INTO journal ({columns}) VALUES ({', '.join('?' * 11)}) ON CONFLICT DO NOTHING"
    copied = 0
    progress("saving messages", 0, 0)
    target.execute("BEGIN")
    for seen, row in enumerate(Salvage(source, "journal", f"{_JOURNAL}, {later}").rows(), 1):
        if row[1] in sessions and _is_entry(row):
            copied += target.execute(text, row).rowcount
        if seen % _BATCH == 0:
            target.execute("COMMIT")
            target.execute("BEGIN")
            progress("saving messages", seen, 0)
    target.execute("COMMIT")
    there = _messages(target)
    counted = {session: count for session, count in _messages(source).items() if session in sessions}
    return copied, sum(max(0, count - there.get(session, 0)) for session, count in counted.items())


def _messages(connection: sqlite3.Connection) -> dict[int, int]:
    """Return how many messages each session has by SQLite's own count, nothing where that is damaged."""
    try:
        return dict(connection.execute("SELECT session, messages FROM journal_sizes").fetchall())
    except sqlite3.DatabaseError:
        return {}


def _is_entry(row: Row) -> bool:
    return all(isinstance(value, kinds) for value, kinds in zip(row[1:], _KINDS, strict=True))


def _term(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Take the counter of terms over; where it cannot be read go far beyond every term there is."""
    try:
        term = int(source.execute("SELECT value FROM counters WHERE name = 'term'").fetchone()[0])
    except (sqlite3.DatabaseError, TypeError, ValueError) as error:
        if isinstance(error, sqlite3.Error) and code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        term = 0
    seen = [
        target.execute(f"SELECT coalesce(max(term), 0) FROM {table}").fetchone()[0] for table in ("sessions", "journal")
    ]
    target.execute("UPDATE counters SET value = ?", (max(term, *seen) + (0 if term else _TERMS_PASSED_OVER),))


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
