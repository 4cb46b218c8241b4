"""Files of older schemas. `schema_1.db.gz` was made by the first version that kept a journal; it stays as it is."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import Unavailable
from holdfast.stores.contract import Kind, OpenStream, append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_file import SCHEMA, connect
from holdfast.testing.records import entry_of, record_of

HERE = Path(__file__).parent
START = (0, -1)
OPEN = [
    entry_of("open", 0, Kind.OPENING, term=3, request=b"1"),
    entry_of("open", 1, term=3, data=b"x" * 9000),
]
APPEND_OF_SCHEMA_1 = """
    INSERT INTO journal (session, stream, term, seq, kind, at, data, request)
    SELECT
        (SELECT stored.n FROM sessions AS stored WHERE stored.id = column1 AND stored.term <= column3),
        column2, column4, column5, column6, column7, column8, column9
    FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?))
    WHERE true
    ON CONFLICT (session, stream, term, seq) DO NOTHING
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the place of a file of schema 1."""
    path = tmp_path / "sessions.db"
    path.write_bytes(gzip.decompress((HERE / "schema_1.db.gz").read_bytes()))
    return path


def schema_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        schema: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return schema


def dump_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def definitions_in(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def killed_before_it_commits(path: Path) -> int:
    """Let a program migrate the file, kill it before it commits, and return the bytes that its log held."""
    command = [sys.executable, str(HERE / "migrating_program.py"), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"migrated\n"
        logged_bytes = path.with_name("sessions.db-wal").stat().st_size
        program.kill()
    return logged_bytes


def in_schema_1(connection: sqlite3.Connection, seq: int) -> None:
    """Append a message as a process of schema 1 does."""
    connection.execute(APPEND_OF_SCHEMA_1, ("t", "a", 3, 3, seq, 1, 0.0, b"%d" % seq, b""))


async def test_a_file_of_schema_1_opens_with_all_it_held(path: Path) -> None:
    """R-STO-1."""
    assert schema_of(path) == 1
    async with SqliteStore.open(path) as store:
        for name in ("s", "t"):
            assert await store.get(name) == record_of(name, term=3, owner="ada")
        assert await store.read("s", "open", after=START) == OPEN
        assert [entry.kind for entry in await store.read("s", "done", after=START)] == [Kind.OPENING, Kind.FINAL]
        assert await store.unfinished("s") == [OpenStream(OPEN[0], 1)]
        assert await store.origins("s", 0, 2**63 - 1) == set()
        assert await store.next_term() == 4
    assert schema_of(path) == SCHEMA


async def test_a_file_of_schema_1_keeps_origins_once_it_was_opened(path: Path) -> None:
    """R-KEE-2: and what it held is deleted with its session, as ever."""
    more = [entry_of("open", at, term=3, origin=at) for at in (2, 3)]
    async with SqliteStore.open(path) as store:
        await append_to(store, "s", 3, more)
    async with SqliteStore.open(path) as store:
        assert await store.origins("s", 1, 10) == {2, 3}
        assert await store.read("s", "open", after=START) == OPEN + more
        await store.delete("s")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchall() == [(0,)]


async def test_a_file_that_was_of_schema_1_is_what_a_new_one_is(path: Path, tmp_path: Path) -> None:
    """R-STO-1: each step is kept as it was; who wants another shape adds a step."""
    for each in (path, tmp_path / "new.db"):
        async with SqliteStore.open(each):
            pass
    assert definitions_in(path) == definitions_in(tmp_path / "new.db")


async def test_a_process_of_schema_1_goes_on_writing_beside_a_later_one(path: Path) -> None:
    """R-STO-3: an upgrade without downtime starts the new server beside the old one."""
    with closing(connect(path)) as old:
        in_schema_1(old, 0)
        async with SqliteStore.open(path) as store:
            in_schema_1(old, 1)
            await append_to(store, "t", 3, [entry_of("a", 2, term=3, origin=9)])
            in_schema_1(old, 2)
            in_schema_1(old, 3)
            kept = await store.read("t", "a", after=START)
            assert [(entry.seq, entry.origin) for entry in kept] == [(0, 0), (1, 0), (2, 9), (3, 0)]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """R-STO-2: one of its last steps does not find what it replaces."""
    with closing(sqlite3.connect(path)) as connection:
        (definition,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'journal_ends'").fetchone()
        connection.execute("DROP INDEX journal_ends")
    before = dump_of(path)
    with pytest.raises(Unavailable, match="journal_ends"):
        async with SqliteStore.open(path):
            pass
    assert (schema_of(path), dump_of(path)) == (1, before)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(definition)
    async with SqliteStore.open(path) as store:
        assert await store.read("s", "open", after=START) == OPEN


async def test_a_migration_that_is_killed_leaves_the_file_as_it_was(path: Path) -> None:
    """R-STO-3: though its log holds what was done."""
    before = dump_of(path)
    assert await asyncio.to_thread(killed_before_it_commits, path) > 0
    assert (schema_of(path), dump_of(path)) == (1, before)
    async with SqliteStore.open(path) as store:
        assert await store.read("s", "open", after=START) == OPEN
    assert schema_of(path) == SCHEMA


@pytest.mark.slow
async def test_several_processes_may_open_a_file_of_schema_1_at_once(path: Path) -> None:
    """R-STO-3."""
    command = (sys.executable, HERE / "opening_program.py", f"sqlite:///{path}")
    programs = [await asyncio.create_subprocess_exec(*command) for _ in range(4)]
    assert [await program.wait() for program in programs] == [0] * 4
    assert schema_of(path) == SCHEMA
    async with SqliteStore.open(path) as store:
        assert await store.read("s", "open", after=START) == OPEN
