"""What a SQLite store makes of files, its own and others."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from holdfast import Corrupt, Misused, NotFound, SessionManager, Unavailable, open_store
from holdfast.codec import Codec
from holdfast.stores.contract import Query
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_file import SCHEMA, connect
from holdfast.testing.records import NOW, record_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def rows_of(path: Path) -> list[tuple[bytes, float]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT body, last_accessed FROM sessions ORDER BY n").fetchall()
    finally:
        connection.close()


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def execute(path: Path, text: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.execute(text, values)
        connection.commit()
    finally:
        connection.close()


async def test_records_outlive_the_store(path: Path) -> None:
    """R-STO-1."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
    async with SqliteStore.open(path) as store:
        assert await store.get("s") == record_of("s")


async def test_accesses_are_written_at_the_end(path: Path) -> None:
    """R-STO-5."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 5, within_s=1000.0)
        assert rows_of(path)[0][1] == NOW
    assert rows_of(path)[0][1] == NOW + 5


async def test_many_accesses_are_written_at_the_end(path: Path) -> None:
    """R-STO-5."""
    async with SqliteStore.open(path) as store:
        await asyncio.gather(*(store.put(record_of(f"s{at}"), expect=0) for at in range(3000)))
        for at in range(3000):
            await store.touch(f"s{at}", NOW + 5)
    assert {row[1] for row in rows_of(path)} == {NOW + 5}


async def test_a_term_given_out_is_never_given_out_again(path: Path) -> None:
    """R-CLU-2."""
    async with SqliteStore.open(path) as store, SqliteStore.open(path) as other:
        terms = [await store.next_term(), await other.next_term(), await store.next_term()]
    async with SqliteStore.open(path) as store:
        terms.append(await store.next_term())
    assert terms == sorted(set(terms))


async def test_the_file_is_for_its_owner_only(path: Path) -> None:
    """R-SEC-4."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    """R-STO-2."""
    overwrite(path, b"my diary\n" * 1000)
    with pytest.raises(Misused, match="not a SQLite database"):
        async with SqliteStore.open(path):
            pass
    assert content_of(path) == b"my diary\n" * 1000
    assert names_in(path.parent) == {path.name}


async def test_a_database_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    """R-STO-2."""
    execute(path, "CREATE TABLE diary (day TEXT)")
    before = content_of(path)
    with pytest.raises(Misused, match="something else"):
        async with SqliteStore.open(path):
            pass
    assert content_of(path) == before


async def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
    execute(path, "PRAGMA user_version = 7")
    before = content_of(path)
    with pytest.raises(Misused, match=rf"schema 7, this one knows {SCHEMA}.*upgrade"):
        async with SqliteStore.open(path):
            pass
    assert content_of(path) == before


async def test_a_folder_that_is_not_there_is_told(path: Path) -> None:
    """R-STO-2."""
    with pytest.raises(Misused, match="folder"):
        async with SqliteStore.open(path / "in" / "nothing.db"):
            pass


async def test_a_changed_byte_is_damage_of_that_session_only(path: Path) -> None:
    """R-STO-2."""
    names = ["before", "hit", "after"]
    async with SqliteStore.open(path) as store:
        for name in names:
            await store.put(record_of(name), expect=0)
    body = bytearray(rows_of(path)[1][0])
    body[-3] ^= 1
    execute(path, "UPDATE sessions SET body = ? WHERE id = 'hit'", bytes(body))
    async with SqliteStore.open(path) as store:
        found = await asyncio.gather(*(store.get(name) for name in names), return_exceptions=True)
        assert [type(each).__name__ for each in found] == ["Record", "Corrupt", "Record"]
        assert [record.id for record in (await store.scan(Query())).records] == ["before", "after"]
        assert sorted(record.id for record in await store.expire(NOW + 60)) == ["after", "before"]
        with pytest.raises(Corrupt, match="hit…"):
            await store.get("hit")


NEWER = "substr(body, 1, 2) || x'07' || substr(body, 4)"
DAMAGED = "zeroblob(40)"


@pytest.mark.parametrize("body", [DAMAGED, f"CAST({NEWER} AS BLOB)"])
async def test_what_cannot_be_read_hides_nothing_from_scans_and_lists(
    path: Path, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R-SEC-3, R-STO-2: it is told once, without its id."""
    async with SessionManager[dict[str, int]].open(f"sqlite:///{path}") as sessions:
        for name in ("first", "secret-name", "last"):
            await sessions.create(id=name)
        execute(path, f"UPDATE sessions SET body = {body} WHERE id = 'secret-name'")
        for _ in range(2):
            assert [session.id for session in await sessions.list()] == ["first", "last"]
            assert [session.id async for session in sessions.scan()] == ["first", "last"]
            assert await sessions.ids() == ["first", "secret-name", "last"]
        assert [each.getMessage()[:12] for each in caplog.records] == ["session secr"]
        assert "secret-name" not in caplog.text


async def test_what_is_damaged_can_be_deleted(path: Path) -> None:
    """R-STO-2."""
    async with SessionManager[dict[str, int]].open(f"sqlite:///{path}") as sessions:
        await sessions.create(id="s")
        execute(path, f"UPDATE sessions SET body = {DAMAGED}")
        assert await sessions.delete("s") is True
        assert await sessions.ids() == []


@pytest.mark.parametrize("limit", [7, 100])
async def test_what_is_damaged_keeps_nothing_behind_it_from_expiring(
    path: Path, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-5, R-STO-2: also when the damaged fill more pages than one call looks at; each is told once."""
    async with SqliteStore.open(path) as store:
        for at in range(130):
            # Many have the same deadline, so that pages end between them.
            await store.put(record_of(f"s{at}", timeout=float(at // 50)), expect=0, durable=False)
        execute(path, f"UPDATE sessions SET body = {DAMAGED} WHERE n <= 120")
        gone: list[str] = []
        for _ in range(6):
            gone += [record.id for record in await store.expire(NOW + 60, limit=limit)]
        assert sorted(gone) == sorted(f"s{at}" for at in range(120, 130))
        assert len(caplog.records) == 120
        # What becomes due before those that were passed over is found as well.
        await store.put(record_of("early", timeout=0.0, last_accessed=NOW - 5), expect=0)
        found = [await store.expire(NOW + 60, limit=limit) for _ in range(3)]
        assert [record.id for records in found for record in records] == ["early"]
        assert len(caplog.records) == 120


@pytest.mark.parametrize("column", ["version = version + 1", "term = 9", "last_accessed = 1.0", "body = 'text'"])
async def test_a_row_that_does_not_fit_its_record_is_damage(path: Path, column: str) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        execute(path, f"UPDATE sessions SET {column}")
        with pytest.raises(Corrupt, match="s…"):
            await store.get("s")


async def test_bodies_of_two_sessions_cannot_be_swapped(path: Path) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        for name in ("s", "t"):
            await store.put(record_of(name), expect=0)
        execute(path, "UPDATE sessions SET body = (SELECT body FROM sessions WHERE id = 't') WHERE id = 's'")
        with pytest.raises(Corrupt, match="another session"):
            await store.get("s")


async def test_a_damaged_page_is_told_and_others_are_read(path: Path) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        records = [record_of(f"s{at:04}", metadata=b"x" * 1000) for at in range(400)]
        await asyncio.gather(*(store.put(record, expect=0) for record in records))
    content = bytearray(content_of(path))
    at = content.index(b"s0200", content.index(b"x" * 900))
    page = at // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    overwrite(path, bytes(content))
    async with SqliteStore.open(path) as store:
        found = await asyncio.gather(*(store.get(record.id) for record in records), return_exceptions=True)
    kinds = [type(each).__name__ for each in found]
    assert set(kinds) == {"Record", "Corrupt"}
    assert kinds.count("Corrupt") < 20


@pytest.mark.slow
async def test_a_file_locked_by_another_program_is_unavailable_not_lost(path: Path) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        other = connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as unavailable:
            await store.put(record_of("s", version=2), expect=1)
        assert isinstance(unavailable.value.__cause__, (sqlite3.OperationalError, TimeoutError))
        assert await store.get("s") == record_of("s")
        other.execute("ROLLBACK")
        other.close()
        await store.put(record_of("s", version=2), expect=1)


async def test_a_closed_store_is_unavailable(path: Path) -> None:
    """R-STO-2."""
    async with SqliteStore.open(path) as store:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await store.get("s")


async def test_the_columns_say_what_the_body_says(path: Path) -> None:
    """R-STO-6."""
    record = record_of("s", version=1, term=4, timeout=None, max_age=9.0, owner="ada")
    async with SqliteStore.open(path) as store:
        await store.put(record, expect=0)
    assert Codec().open(rows_of(path)[0][0], "s") == record
    assert rows_of(path)[0][0] == Codec().seal(record)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://x",
        "memory://x",
        "memory:///x",
        "sqlite://x",
        "sqlite:///",
        "sqlite://host/x",
        "sqlite:///x#y",
        "memory://?y=1",
    ],
)
async def test_an_address_that_is_not_understood_names_those_that_are(url: str) -> None:
    """R-OPS-6."""
    with pytest.raises(Misused, match=r"memory:// and sqlite:///relative/path or sqlite:////absolute/path"):
        async with open_store(url):
            pass


async def test_an_address_names_a_file_from_here_or_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-STO-1."""
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///a%20b.db", f"sqlite:///{tmp_path}/c.db"):
        async with SessionManager[dict[str, int]].open(url) as sessions:
            await sessions.create(id="s")
            with pytest.raises(NotFound):
                await sessions.get("t")
    assert names_in(tmp_path) == {"a b.db", "c.db"}
