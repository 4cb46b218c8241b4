"""The feed of a SQLite store, beyond the contract: older and several processes, power failures, damage, repair."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.codec import PLAIN
from holdfast.model import CursorExpired, Misused
from holdfast.model.session import Record
from holdfast.stores.contract import Change, ChangeKind, FeedBounds
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_acts import Put
from holdfast.stores.sqlite_file import connect
from holdfast.stores.sqlite_upkeep import SqliteUpkeep
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, record_of

HERE = Path(__file__).parent
PUT_OF_SCHEMA_4 = """
    INSERT INTO sessions (id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, term = excluded.term, state = excluded.state,
        owner = excluded.owner, body = excluded.body
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def old(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to a file of schema 2, as a process of that version has it open."""
    path.write_bytes(gzip.decompress((HERE / "schema_2.db.gz").read_bytes()))
    with closing(connect(path)) as connection:
        yield connection


def put_in_schema_4(connection: sqlite3.Connection, record: Record) -> None:
    (row,) = Put(record, durable=True).rows
    connection.execute(PUT_OF_SCHEMA_4, row[:-1])


async def changes_of(store: SqliteStore, after: str | None = None) -> list[Change]:
    return (await store.changes(after=after, limit=1000)).changes


async def past_of(store: SqliteStore, at: float) -> dict[str, Record]:
    found: dict[str, Record] = {}
    cursor: str | None = None
    while True:
        page = await store.state_at(at, cursor=cursor)
        found |= {record.id: record for record in page.records}
        if page.cursor is None:
            return found
        cursor = page.cursor


async def test_what_a_process_of_an_older_schema_writes_is_in_the_feed(path: Path, old: sqlite3.Connection) -> None:
    """R-MGR-7: beside that of the newer process, and the past knows it too, by the clock of SQLite."""
    clock = ManualClock()
    async with SqliteStore.open(path, clock=clock) as store:
        start = await store.position()
        put_in_schema_4(old, record_of("u"))
        put_in_schema_4(old, record_of("u", version=2, term=3))
        await store.put(record_of("u", version=3, term=3), expect=2)
        put_in_schema_4(old, record_of("u", version=4, term=3, state="terminated"))
        put_in_schema_4(old, record_of("v", timeout=None))
        old.execute("DELETE FROM sessions WHERE id IN ('u', 'v')")
        changes = await changes_of(store, start)
        told = [(change.record.id, change.record.version, change.kind) for change in changes]
        assert told[:5] == [
            ("u", 1, ChangeKind.CREATED),
            ("u", 2, ChangeKind.OWNER_CHANGED),
            ("u", 3, ChangeKind.UPDATED),
            ("u", 4, ChangeKind.STATE_CHANGED),
            ("v", 1, ChangeKind.CREATED),
        ]
        assert sorted(told[5:]) == [("u", 4, ChangeKind.DELETED), ("v", 1, ChangeKind.DELETED)]
        moments = [change.at for change in changes if change.record.id == "u"]
        assert moments == sorted(moments)


async def test_the_past_of_a_file_of_an_older_schema_begins_when_it_was_brought_to_this(
    path: Path, old: sqlite3.Connection
) -> None:
    """R-MGR-10: what was there then is known, whatever becomes of it."""
    async with SqliteStore.open(path) as store:
        assert await changes_of(store) == []
        with pytest.raises(Misused, match="earliest"):
            await store.state_at(NOW - 1e9)
        (began,) = old.execute("SELECT horizon FROM feed").fetchone()
        before = {record.id: record for record in [await store.get(name) for name in ("s", "t")] if record is not None}
        assert before
        for name, record in before.items():
            if name == "s":
                await store.delete(name)
            else:
                changed = record_of(name, version=record.version + 1, term=record.term, created_at=record.created_at)
                await store.put(changed, expect=record.version)
        assert await past_of(store, began) == before


async def test_two_processes_write_one_feed(path: Path) -> None:
    """R-MGR-7."""
    async with SqliteStore.open(path) as one, SqliteStore.open(path) as other:
        for version in range(1, 7):
            await (one if version % 2 else other).put(record_of("s", version=version), expect=version - 1)
        for store in (one, other):
            assert [change.record.version for change in await changes_of(store)] == [1, 2, 3, 4, 5, 6]
        assert await one.position() == await other.position()


async def test_whoever_has_seen_what_a_power_failure_took_is_told(path: Path) -> None:
    """R-MGR-7: though other changes have the numbers of those now."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("a"), expect=0)
        kept = await store.position()
    held = await asyncio.to_thread(path.read_bytes)
    async with SqliteStore.open(path) as store:
        await store.put(record_of("lost"), expect=0)
        seen = await store.position()
    await asyncio.to_thread(path.write_bytes, held)
    async with SqliteStore.open(path) as store:
        with pytest.raises(CursorExpired, match="power"):
            await store.changes(after=seen)
        await store.put(record_of("other"), expect=0)
        with pytest.raises(CursorExpired, match="position"):
            await store.changes(after=seen)
        assert [change.record.id for change in await changes_of(store, kept)] == ["other"]


async def test_a_damaged_change_is_left_out_and_those_beside_it_are_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        for name in ("a", "b", "c"):
            await store.put(record_of(name), expect=0)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE changes SET body = x'4846' WHERE id = 'b'")
        assert [change.record.id for change in await changes_of(store)] == ["a", "c"]
        assert "left out of the feed" in caplog.text


async def test_a_repaired_file_begins_a_feed_of_its_own(path: Path) -> None:
    """R-STO-3: and goes on from there."""
    async with SqliteStore.open(path) as store:
        for name in ("a", "b"):
            await store.put(record_of(name), expect=0)
        seen = await store.position()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sessions SET body = x'4846' WHERE id = 'b'")
    await asyncio.to_thread(SqliteUpkeep(path, "full", PLAIN).repair, lambda *_: None)
    async with SqliteStore.open(path) as store:
        assert await changes_of(store) == []
        with pytest.raises(CursorExpired):
            await store.changes(after=seen)
        await store.put(record_of("a", version=2), expect=1)
        assert [change.record.version for change in await changes_of(store)] == [2]


async def test_a_damaged_session_can_be_deleted(path: Path) -> None:
    """R-STO-2: its end is written, though nobody can read what it was."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("a"), expect=0)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE sessions SET body = x'4846'")
        assert await store.delete("a") is True
        assert await store.get("a") is None


async def test_a_trim_goes_in_steps(path: Path) -> None:
    """R-STO-3: nobody waits for all of it."""
    clock = ManualClock()
    async with SqliteStore.open(path, clock=clock) as store:
        for version in range(1, 2501):
            await store.put(record_of("s", version=version), expect=version - 1, durable=False)
        clock.advance(FeedBounds().age_s_max)
        assert await store.trim_changes(FeedBounds(), clock.now()) == 2500
        assert await changes_of(store) == []


async def test_a_change_of_a_newer_version_is_not_passed_over(path: Path) -> None:
    """R-MGR-7: a follower that is upgraded later finds it behind its cursor."""
    async with SqliteStore.open(path) as store:
        for name in ("a", "b", "c"):
            await store.put(record_of(name), expect=0)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE changes SET body = x'4846ff{'00' * 40}' WHERE id = 'b'")
        page = await store.changes()
        assert ([change.record.id for change in page.changes], page.is_end) == (["a"], False)
        with pytest.raises(Misused, match="upgrade"):
            await store.changes(after=page.cursor)


@pytest.mark.parametrize(
    "damage", ["kind = 77", "at = 'then'", "last_accessed = 'then'", "id = x'ff'", "body = 'text'"]
)
async def test_a_change_whose_row_is_damaged_is_left_out(path: Path, damage: str) -> None:
    """R-STO-2: SQLite does not check what is in a column."""
    async with SqliteStore.open(path) as store:
        for name in ("a", "b", "c"):
            await store.put(record_of(name), expect=0)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE changes SET {damage} WHERE id = 'b'")
        assert [change.record.id for change in await changes_of(store)] == ["a", "c"]
