"""Looks after the file of a SQLite store: what it is, whether it is sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from ..codec import Codec
from ..model.errors import Corrupt, KeyMissing, Misused, Unavailable
from ..model.ids import redacted
from .address import is_there
from .contract import StoreInfo
from .sqlite_address import Durability
from .sqlite_faults import check_file, check_place, code_of, not_opened
from .sqlite_file import connect, recognise, statement
from .sqlite_repair import Repair
from .sqlite_salvage import RECORD, Salvage, ids_in_index, record_in
from .sqlite_sealing import dictionary_in, keys_in
from .upkeep import NAMED_MAX, Findings, Inspection, Progress, Repaired

_PAGES_TOLD_MAX: Final = 100
_TOLD_EVERY: Final = 1000


class SqliteUpkeep:
    """Looks after the file at `path`: `Upkeep`."""

    def __init__(self, path: Path, durability: Durability, codec: Codec) -> None:
        self._codec = codec
        self._path = path
        self._durability = durability

    def inspect(self, now: float) -> Inspection:
        with opened(self._path) as (connection, schema):
            try:
                counted = dict(connection.execute(statement("count"), (now,)).fetchall())
                keys = keys_in(connection, schema)
            except sqlite3.Error as error:
                raise not_opened(self._path, error) from error
            info = StoreInfo(kind="sqlite", durability=self._durability, schema=schema, health="ok", shared=True)
            log = self._path.with_name(self._path.name + "-wal")
            return Inspection(
                info=info,
                sessions={"active": 0, "terminated": 0, **counted},
                size_bytes=self._path.stat().st_size,
                log_bytes=log.stat().st_size if log.exists() else 0,
                keys=keys,
            )

    def check(self, progress: Progress) -> Findings:
        with opened(self._path) as (connection, _):
            codec = self._codec.of_store(partial(dictionary_in, self._path, self._codec))
            return findings_of(connection, progress, codec)

    def repair(self, progress: Progress) -> Repaired:
        _check_there(self._path)
        check_file(self._path)
        return Repair(self._path, self._codec).run(progress, findings_of)


@contextmanager
def opened(path: Path) -> Iterator[tuple[sqlite3.Connection, int]]:
    """Give a connection that only reads, and the schema of the file, which is not brought to this version's.

    Raises:
        Misused, Corrupt, Unavailable: It is not there, not a store that can be read here, damaged, or locked.
    """
    _check_there(path)
    check_place(path)
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        raise not_opened(path, error) from error
    try:
        try:
            connection.execute("PRAGMA query_only = ON")
            schema = recognise(connection, path)
        except sqlite3.Error as error:
            raise not_opened(path, error) from error
        if schema == 0:
            raise Misused(f"{path} is empty; no store was made in it yet")
        yield connection, schema
    finally:
        connection.close()


def _check_there(path: Path) -> None:
    if not is_there(path):
        raise Misused(f"{path} is not there; name the file of a store")


def findings_of(connection: sqlite3.Connection, progress: Progress, codec: Codec) -> Findings:
    """Check every page, then open every record."""
    progress("checking pages", 0, 0)
    pages = _pages(connection)
    records = newer = locked = damaged = 0
    named: list[str] = []
    total = _total(connection)
    salvage = Salvage(connection, "sessions", RECORD)
    reachable: set[str] = set()
    for _, *row in salvage.rows():
        reachable.add(str(row[0]))
        try:
            record_in(tuple(row), codec)
            records += 1
        except KeyMissing:
            locked += 1
        except Misused:
            newer += 1
        except Corrupt:
            damaged += 1
            named.append(redacted(str(row[0])))
        if (records + damaged) % _TOLD_EVERY == 0:
            progress("opening records", records + damaged, total)
    pages += _damaged_changes(connection, progress, codec)
    lost = [redacted(each) for each in dict.fromkeys(ids_in_index(connection)) if each not in reachable]
    return Findings(
        pages=pages,
        records=records + newer + locked,
        newer=newer,
        locked=locked,
        damaged=damaged + max(salvage.unreadable, len(lost)),
        named=tuple((named + lost)[:NAMED_MAX]),
    )


def _damaged_changes(connection: sqlite3.Connection, progress: Progress, codec: Codec) -> tuple[str, ...]:
    """Return a sentence if changes of the feed are damaged; an earlier schema has none."""
    if not connection.execute("PRAGMA table_info(changes)").fetchall():
        return ()
    progress("opening changes", 0, 0)
    lost = sum(
        _is_damaged(session_id, body, codec)
        for _, session_id, *bodies in Salvage(connection, "changes", "id, body, before").rows()
        for body in bodies
        if body is not None
    )
    return (f"{lost:,} changes of the feed are damaged",) if lost else ()


def _is_damaged(session_id: object, body: object, codec: Codec) -> bool:
    if not isinstance(session_id, str) or not isinstance(body, bytes):
        return True
    try:
        codec.open(body, session_id)
    except (KeyMissing, Misused):
        return False
    except Corrupt:
        return True
    return False


def _pages(connection: sqlite3.Connection) -> tuple[str, ...]:
    try:
        answers = connection.execute(f"PRAGMA integrity_check({_PAGES_TOLD_MAX})").fetchall()
    except sqlite3.DatabaseError as error:
        if code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Unavailable(f"the database is locked: {error}; try again") from error
        return (str(error),)
    lines = [line for (answer,) in answers for line in str(answer).splitlines()]
    return () if lines == ["ok"] else tuple(lines[:_PAGES_TOLD_MAX])


def _total(connection: sqlite3.Connection) -> int:
    try:
        return int(connection.execute("SELECT count(*) FROM sessions").fetchone()[0])
    except sqlite3.DatabaseError:
        return 0
