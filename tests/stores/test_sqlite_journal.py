"""What it costs to read, of one session among many, what a server that takes it over wants to know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.stores.contract import Kind, OpenStream, append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_file import connect, statement
from holdfast.stores.sqlite_journal import read_origins, read_unfinished
from holdfast.testing.records import entry_of, record_of

STREAMS = 300
OPENING = entry_of("waits", 0, Kind.OPENING, origin=5)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return a file with one session that has an open stream, and ten that have many, closed and not."""
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        for name in ("s", *map(str, range(10))):
            await store.put(record_of(name), expect=0)
            for at in range(STREAMS if name != "s" else 0):
                ends = [entry_of(f"a{at}", seq, Kind(seq), origin=at + 1) for seq in range(3 if at % 2 else 2)]
                await append_to(store, name, 1, ends)
        await append_to(store, "s", 1, [OPENING, entry_of("waits", 1, origin=7)])
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as connection:
        yield connection


async def test_what_is_read_of_a_session_costs_no_look_at_the_others(connection: sqlite3.Connection) -> None:
    """R-PER-5: a server that takes 1,000 sessions over asks for each of them."""
    worked = 0

    def count() -> int:
        nonlocal worked
        worked += 1
        return 0

    connection.set_progress_handler(count, 10)
    assert read_unfinished(connection, "s") == [OpenStream(OPENING, 1)]
    assert read_origins(connection, "s", 1, 100) == {5, 7}
    assert 0 < worked < 100  # in tens of SQLite's instructions: a look at the others' streams takes thousands


async def test_origins_are_found_without_reading_content(connection: sqlite3.Connection) -> None:
    """R-PER-5: however long the messages are."""
    plan = connection.execute("EXPLAIN QUERY PLAN " + statement("origins"), {"id": "s", "first": 1, "last": 9})
    looked_at = [each[3] for each in plan.fetchall() if " journal " in each[3]]
    assert [" USING COVERING INDEX journal_" in each for each in looked_at] == [True, True]
