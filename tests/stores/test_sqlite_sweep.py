"""A session with a long journal goes at once; its journal goes in steps, and comes to nobody else."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.stores.contract import Journal, append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_acts import Put
from holdfast.stores.sqlite_file import SCHEMA, connect, migrate, statement
from holdfast.testing.records import entry_of, record_of
from tests import kit

HERE = Path(__file__).parent
START = (0, -1)
LONG = 3000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def old(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to a file of schema 2, as a process of that version has it open."""
    path.write_bytes(gzip.decompress((HERE / "schema_2.db.gz").read_bytes()))
    with closing(connect(path)) as connection:
        connection.execute("SELECT count(*) FROM sessions").fetchall()
        yield connection


async def append_long(store: Journal, session_id: str) -> None:
    for first in range(0, LONG, 1000):
        await append_to(store, session_id, 1, [entry_of("a", at) for at in range(first, first + 1000)])


def ask(path: Path, text: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(text).fetchone()[0]


def delete(connection: sqlite3.Connection, session_id: str) -> int:
    """Delete as a store does, and return how many rows that took."""
    before = connection.total_changes
    gone = connection.execute(statement("delete", 1, 3), (session_id, None, None)).fetchall()
    assert gone == [(session_id,)]
    return connection.total_changes - before


def put(connection: sqlite3.Connection, *names: str) -> None:
    rows = [row for name in names for row in Put(record_of(name), durable=True).rows]
    connection.execute(statement("put", len(rows), 9), [value for row in rows for value in row]).fetchall()


async def test_a_delete_takes_as_long_whatever_the_length_of_the_journal(path: Path) -> None:
    """R-STO-3: nobody else can write while a statement runs."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        await append_long(store, "s")
    with closing(connect(path)) as connection:
        assert delete(connection, "s") < 50
    assert ask(path, "SELECT count(*) FROM journal") == LONG - 16


async def test_a_new_session_has_nothing_of_a_journal_that_is_left(path: Path) -> None:
    """R-SEC-1: SQLite gives the numbers of deleted rows out again, and several rows are written by one statement."""
    async with SqliteStore.open(path) as store:
        for name in ("a", "b", "c"):
            await store.put(record_of(name), expect=0)
            await append_long(store, name)
    with closing(connect(path)) as connection:
        for name in ("c", "b", "a"):
            delete(connection, name)
        put(connection, "x", "y", "z")
        assert connection.execute("SELECT n FROM sessions ORDER BY n").fetchall() == [(4,), (5,), (6,)]
        # One more that is deleted, and whose number is the highest that is left.
        delete(connection, "z")
        put(connection, "z")
    async with SqliteStore.open(path) as store:
        for name in ("x", "y", "z"):
            assert await store.read(name, "a", after=START) == []
            await append_to(store, name, 1, [entry_of("a", 0)])
        await kit.eventually_async(lambda: ask(path, "SELECT count(*) FROM journal_left") == 0)
        for name in ("x", "y", "z"):
            assert await store.read(name, "a", after=START) == [entry_of("a", 0)]
    assert ask(path, "SELECT count(*) FROM journal") == 3
    assert ask(path, "SELECT sum(messages) FROM journal_sizes") == 3


async def test_what_a_killed_process_left_is_deleted_by_the_next(path: Path) -> None:
    """R-STO-3."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        await append_long(store, "s")
        await store.delete("s")
    async with SqliteStore.open(path):
        await kit.eventually_async(lambda: ask(path, "SELECT count(*) FROM journal") == 0)
    assert ask(path, "SELECT count(*) FROM journal_left") == 0


async def test_a_process_of_schema_2_goes_on_deleting_and_inserting(path: Path, old: sqlite3.Connection) -> None:
    """R-STO-3: an upgrade without downtime starts the new server beside the old one."""
    async with SqliteStore.open(path) as store:
        assert len(await store.read("s", "open", after=START)) == 41
        delete(old, "t")
        delete(old, "s")
        put(old, "s", "u")
        assert await store.get("u") == record_of("u")
        assert await store.read("s", "open", after=START) == []
        await kit.eventually_async(lambda: ask(path, "SELECT count(*) FROM journal") == 0)
    assert ask(path, "PRAGMA user_version") == SCHEMA


async def test_a_file_of_schema_2_is_then_what_a_new_one_is(path: Path, old: sqlite3.Connection) -> None:
    """R-STO-1."""
    made = []
    for each in (path, path.with_name("new.db")):
        async with SqliteStore.open(each):
            pass
        with closing(sqlite3.connect(each)) as connection:
            made.append(connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall())
    assert made[0] == made[1]


def test_a_migration_from_schema_2_is_all_or_nothing(path: Path, old: sqlite3.Connection) -> None:
    """R-STO-2."""
    before = list(old.iterdump())
    old.execute("BEGIN IMMEDIATE")
    migrate(old, 2)
    assert old.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    old.execute("ROLLBACK")
    assert (ask(path, "PRAGMA user_version"), list(old.iterdump())) == (2, before)
