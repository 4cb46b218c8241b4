"""The file of a SQLite store: recognised, made, opened."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..model.errors import Misused
from .sqlite_address import Durability
from .sqlite_faults import check_place, code_of, not_opened

APPLICATION_ID: Final = 0x48466473  # "HFds"
SCHEMA: Final = 6
BUSY_TIMEOUT_S: Final = 4.0  # below the deadline of a call, so that the cause is told

_SQL: Final = Path(__file__).parent / "sql"
_OPEN_TRIES: Final = 20
_OPEN_PAUSE_S: Final = 0.1
_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_making: Final = threading.Lock()


@lru_cache(maxsize=512)
def statement(name: str, rows: int = 0, columns: int = 0) -> str:
    """Return the statement in `sql/<name>.sql`, with `rows` rows of parameters where it says so, maybe numbered."""
    text = _SQL.joinpath(f"{name}.sql").read_text("utf-8")
    row = f"({', '.join('?' * columns)})"
    text = text.replace("/*rows*/", ", ".join([row] * rows))
    return text.replace("/*numbered rows*/", ", ".join(f"{row[:-1]}, {number})" for number in range(1, rows + 1)))


def connect(path: Path, durability: Durability = "full") -> sqlite3.Connection:
    """Open a connection that may be used by one thread at a time, whichever.

    Invariant: each has what "off" means, for the last one to close folds the log, with an fsync or without.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        if durability == "off":
            connection.execute("PRAGMA synchronous = OFF")
    except BaseException:
        connection.close()  # it is no database, for example
        raise
    return connection


def prepare(path: Path, durability: Durability = "full") -> None:
    """Make the file at `path` if there is none or it is empty, else check that it is one of ours. Blocks.

    A file of an older schema is brought to this one, all or none. Whoever has it open meanwhile goes on, so every step
    of the schema must leave the statements of the one before working.

    Raises:
        Misused: It cannot be made or written, is something else, or is of a newer version. Nothing was changed.
        Unavailable: It is locked for too long, the disk is full, or it could not be brought to this schema. Nothing was
            changed.
        Corrupt: It is damaged where it says what is in it. Nothing was changed.
    """
    for tries_left in reversed(range(_OPEN_TRIES)):
        try:
            return _prepare(path, durability)
        except sqlite3.Error as error:
            if code_of(error) not in _LOCKED or tries_left == 0:
                raise not_opened(path, error) from error
            # Two processes that make the same file at once: SQLite's own waiting does not cover that.
            time.sleep(_OPEN_PAUSE_S)
        except OSError as error:
            raise Misused(
                f"{path} cannot be made: {error.strerror or error}; check its folder and permissions"
            ) from error
    return None


def _prepare(path: Path, durability: Durability) -> None:
    check_place(path)
    _make(path)
    connection = connect(path, durability)
    try:
        recognise(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrate(connection, recognise(connection, path))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    finally:
        connection.close()


def _make(path: Path) -> None:
    """Make an empty file if there is none.

    Sessions are secrets: it is for its owner only, and SQLite gives its helpers the same mode. Invariant: one that is
    there is not opened (sqlite_faults.py), nor one that another thread may have just made.
    """
    with _making, suppress(FileExistsError):
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def migrate(connection: sqlite3.Connection, schema: int) -> None:
    """Bring an open transaction's file from `schema` (0: empty) to this version's, in numbered steps."""
    for step in range(schema + 1, SCHEMA + 1):
        for text in _statements(statement(f"schema_{step}")):
            connection.execute(text)
    if schema < SCHEMA:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def recognise(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema of the file, 0 when it is empty.

    Raises:
        Misused: It is a database of something else, or of a newer Holdfast.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    schema: int = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application == 0 and schema == 0 and empty:
        return 0
    if application != APPLICATION_ID:
        raise Misused(f"{path} is a database of something else than Holdfast; choose another file")
    if schema > SCHEMA:
        raise Misused(
            f"{path} was written by a newer Holdfast (schema {schema}, this one knows {SCHEMA}); "
            "upgrade Holdfast or choose another file"
        )
    return schema


def _statements(script: str) -> Iterator[str]:
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do several statements as one, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
