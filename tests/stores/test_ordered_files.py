"""What a LevelDB or RocksDB store makes of folders, its own and others, and of what is damaged in them."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast import Corrupt, Misused, SessionManager, Unavailable, open_store
from holdfast.stores import ordered_keys as keys
from holdfast.stores.contract import Journal, JournalBounds, Kind, Query, append_to
from holdfast.stores.leveldb import driver as leveldb
from holdfast.stores.ordered_engine import Engine
from holdfast.stores.rocksdb import driver as rocksdb
from holdfast.testing.records import NOW, entry_of, record_of

from .engines import ENGINES

START = (0, -1)


@pytest.fixture(params=ENGINES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def url(kind: str, folder: Path) -> str:
    return f"{kind}:///{folder}"


@pytest.fixture
def change(kind: str, folder: Path) -> Callable[[dict[bytes, bytes | None]], list[tuple[bytes, bytes]]]:
    """Give a function that writes to the closed database and returns all that is in it."""

    def change(changes: dict[bytes, bytes | None]) -> list[tuple[bytes, bytes]]:
        engine: Engine = (leveldb if kind == "leveldb" else rocksdb)()(folder)
        try:
            engine.write(changes, sync=False)
            return list(engine.iterate(b"\0", b"\xff", 10_000))
        finally:
            engine.close()

    return change


FEED = {keys.FEED, keys.PART, keys.CHANGE}
Change = Callable[[dict[bytes, bytes | None]], list[tuple[bytes, bytes]]]


def make(folder: Path, mode: int = 0o755, **files: str) -> None:
    """Make a folder with files, whose names have "_" for "-", and "_new" for ".new"."""
    folder.mkdir(mode)
    for name, text in files.items():
        (folder / name.replace("_new", ".new").replace("_", "-")).write_text(text)


def make_file(path: Path) -> None:
    path.write_text("my diary")


def damage_a_table(folder: Path, session_id: bytes, *, whole: bool = False) -> None:
    """Change a byte of the metadata of one session in a table of the engine's, or all around it."""
    tables = (path for path in folder.iterdir() if path.suffix in (".ldb", ".sst"))
    (table,) = [path for path in tables if session_id in path.read_bytes()]
    content = bytearray(table.read_bytes())
    # The last one: the feed has it, too, and comes first.
    at = content.index(b"xxx", content.rindex(session_id, 0, content.rindex(b"xxx"))) + 5
    if whole:
        content[at - 500 : at + 1500] = b"\xa5" * 2000
    content[at] ^= 1
    table.write_bytes(content)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def refused(url: str) -> str:
    with pytest.raises(Misused) as misused:
        async with open_store(url):
            pass
    return str(misused.value)


async def test_records_terms_and_journals_outlive_the_store(url: str) -> None:
    """R-STO-1, R-CLU-2."""
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0)])
        term = await store.next_term()
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        assert await store.get("s") == record_of("s")
        assert await store.read("s", "a", after=START) == [entry_of("a", 0)]
        assert await store.next_term() > term
        await store.put(record_of("t"), expect=0)
        await append_to(store, "t", 1, [entry_of("a", 0, data=b"t")])
        assert [entry.data for entry in await store.read("s", "a", after=START)] == [b"0"]


async def test_accesses_are_written_at_the_end_many_at_once(url: str) -> None:
    """R-STO-5."""
    async with open_store(url) as store:
        await asyncio.gather(*(store.put(record_of(f"s{at}"), expect=0, durable=False) for at in range(3000)))
        for at in range(3000):
            await store.touch(f"s{at}", NOW + 5, within_s=1000.0)
    async with open_store(url) as store:
        assert {record.last_accessed for record in (await store.scan(Query(), limit=3000)).records} == {NOW + 5}
        assert await store.expire(NOW + 64) == []
        assert len(await store.expire(NOW + 65, limit=3000)) == 3000


async def test_nothing_is_left_of_sessions_that_are_deleted(url: str, change: Change) -> None:
    """R-STO-1: whatever belonged to them, also when it is cleared away only after the store was closed."""
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        for name in ("s", "t"):
            await store.put(record_of(name), expect=0)
            for start in range(0, 1500, 500):
                await append_to(store, name, 1, [entry_of("a", at, origin=at) for at in range(start, start + 500)])
            ends = [entry_of("b", 0, Kind.OPENING), entry_of("c", 0, Kind.OPENING), entry_of("c", 1, Kind.FINAL)]
            await append_to(store, name, 1, ends)
        await store.delete("s")
        await store.expire(NOW + 60)
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        assert await store.trim(JournalBounds(), NOW) == 0
    assert {key[:1] for key, _ in change({})} - FEED == {keys.NUMBERS, keys.TOTAL}
    assert keys.number_in(dict(change({}))[keys.TOTAL]) == 0


async def test_nothing_is_left_of_streams_that_went_by_age(url: str, change: Change) -> None:
    """R-STO-1."""
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        await store.put(record_of("s", timeout=None), expect=0)
        kinds = (Kind.OPENING, Kind.MESSAGE, Kind.FINAL)
        await append_to(store, "s", 1, [entry_of("a", at, kind, origin=at + 1) for at, kind in enumerate(kinds)])
        assert await store.trim(JournalBounds(age_s_max=100.0), NOW + 101) == 3
        await store.delete("s")
        assert await store.trim(JournalBounds(), NOW) == 0
    assert {key[:1] for key, _ in change({})} - FEED == {keys.NUMBERS, keys.TOTAL}


async def test_the_folder_is_for_its_owner_only(url: str, folder: Path) -> None:
    """R-SEC-4: also when it was there, empty."""
    make(folder)
    async with open_store(url):
        assert mode_of(folder) == 0o700


async def test_a_path_that_is_a_file_is_refused_and_left_alone(url: str, folder: Path) -> None:
    """R-STO-2."""
    make_file(folder)
    assert "is a file" in await refused(url)
    assert names_in(folder.parent) == {"sessions"}


async def test_a_folder_of_something_else_is_refused_and_left_alone(url: str, folder: Path) -> None:
    """R-STO-2: a database of another program's, too."""
    make(folder, CURRENT="1", diary="2")
    assert "something else" in await refused(url)
    assert names_in(folder) == {"CURRENT", "diary"}
    assert mode_of(folder) == 0o755


async def test_a_folder_in_nothing_is_told(url: str, folder: Path) -> None:
    """R-STO-2."""
    assert "check folder and permissions" in await refused(f"{url}/in/nothing")
    assert names_in(folder.parent) == set()


@pytest.mark.slow
async def test_a_folder_that_may_not_be_written_is_told(url: str, folder: Path) -> None:
    """R-STO-2: to root too, when it has only its user's powers."""
    make(folder, 0o500)
    program = [sys.executable, str(Path(__file__).parent / "powerless_program.py"), f"{url}/inner"]
    ran = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE)
    said, _ = await ran.communicate()
    assert b"check folder and permissions" in said
    assert names_in(folder) == set()


@pytest.mark.parametrize(
    ("marker", "message"),
    [("holdfast {kind} schema 7\n", "schema 7, this one knows 2"), ("holdfast otherdb schema 1\n", "otherdb:///")],
)
async def test_a_folder_of_a_newer_version_or_another_engine_is_left_alone(
    url: str, kind: str, folder: Path, marker: str, message: str
) -> None:
    """R-STO-2."""
    make(folder, holdfast_store=marker.format(kind=kind))
    assert message in await refused(url)
    assert names_in(folder) == {"holdfast-store"}


async def test_a_damaged_marker_is_told(url: str, folder: Path) -> None:
    """R-STO-2."""
    make(folder, holdfast_store="holdfasu\0")
    with pytest.raises(Corrupt, match="holdfast-store is damaged; it should read"):
        async with open_store(url):
            pass


async def test_a_folder_that_was_being_made_when_power_failed_is_made(url: str, folder: Path) -> None:
    """R-STO-3."""
    make(folder, holdfast_store_new="hold")
    async with open_store(url) as store:
        await store.put(record_of("s"), expect=0)
    async with open_store(url) as store:
        assert await store.get("s") == record_of("s")


async def test_a_store_is_open_once_in_a_process_too(url: str) -> None:
    """R-STO-3."""
    async with open_store(url):
        with pytest.raises(Unavailable, match="open already"):
            async with open_store(url):
                pass
    async with open_store(url):
        pass


async def test_a_closed_store_is_unavailable(url: str) -> None:
    """R-STO-2."""
    async with open_store(url) as store:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await store.get("s")


@pytest.mark.parametrize("at", [0, 10, 40, 60, 62, 70, -3], ids=lambda at: f"byte {at}")
async def test_a_changed_byte_is_damage_of_that_session_only(url: str, change: Change, at: int) -> None:
    """R-STO-2: in head and record alike."""
    names = ["before", "hit", "last"]
    async with open_store(url) as store:
        for name in names:
            await store.put(record_of(name), expect=0)
    value = bytearray(dict(change({}))[b"shit"])
    value[at] ^= 1
    change({b"shit": bytes(value)})
    async with open_store(url) as store:
        found = await asyncio.gather(*(store.get(name) for name in names), return_exceptions=True)
        assert [type(each).__name__ for each in found] == ["Record", "Corrupt", "Record"]
        assert [record.id for record in (await store.scan(Query())).records] == ["before", "last"]
        assert sorted(record.id for record in await store.expire(NOW + 60)) == ["before", "last"]
        with pytest.raises(Corrupt, match="hit…"):
            await store.get("hit")
        assert await store.delete("hit") is True


@pytest.mark.parametrize("how", ["newer", "damaged", "empty"])
async def test_what_cannot_be_read_hides_nothing_from_scans_and_lists(
    url: str, change: Change, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R-SEC-3, R-STO-2: it is told once, without its id, and can be deleted when it is damaged."""
    async with SessionManager[dict[str, int]].open(url) as sessions:
        for name in ("first", "secret-name", "third"):
            await sessions.create(id=name)
    key = b"ssecret-name"
    value = dict(change({}))[key]
    newer = value.replace(b"HF\1", b"HF\7", 1)
    change({key: {"newer": newer, "damaged": bytes(len(value)), "empty": b""}[how]})
    async with SessionManager[dict[str, int]].open(url) as sessions:
        for _ in range(2):
            assert [session.id for session in await sessions.list()] == ["first", "third"]
            assert [session.id async for session in sessions.scan()] == ["first", "third"]
            assert await sessions.ids() == ["first", "secret-name", "third"]
        assert [each.getMessage()[:12] for each in caplog.records] == ["session secr"]
        assert "secret-name" not in caplog.text
        if how != "newer":
            assert await sessions.delete("secret-name") is True
            assert await sessions.ids() == ["first", "third"]


@pytest.mark.parametrize("limit", [7, 100])
async def test_what_is_damaged_keeps_nothing_behind_it_from_expiring(
    url: str, change: Change, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-5, R-STO-2: also when the damaged fill more pages than one call looks at; each is told once."""
    async with open_store(url) as store:
        for at in range(130):
            await store.put(record_of(f"s{at:03}", timeout=float(at // 50)), expect=0, durable=False)
    change({b"s" + b"s%03d" % at: bytes(200) for at in range(120)})
    async with open_store(url) as store:
        gone: list[str] = []
        for _ in range(6):
            gone += [record.id for record in await store.expire(NOW + 60, limit=limit)]
        assert sorted(gone) == [f"s{at}" for at in range(120, 130)]
        assert len(caplog.records) == 120
        await store.put(record_of("early", timeout=0.0, last_accessed=NOW - 5), expect=0)
        found = [await store.expire(NOW + 60, limit=limit) for _ in range(3)]
        assert [record.id for records in found for record in records] == ["early"]


async def test_a_damaged_entry_concerns_its_own_stream_only(url: str, change: Change) -> None:
    """R-STO-2."""
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0), entry_of("b", 0)])
    key, value = next(row for row in change({}) if row[0][:1] == keys.ENTRY)
    change({key: value[:-1] + bytes([value[-1] ^ 1])})
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        with pytest.raises(Corrupt):
            await store.read("s", "a", after=START)
        assert await store.read("s", "b", after=START) == [entry_of("b", 0)]
        assert await store.delete("s") is True
        await store.trim(JournalBounds(age_s_max=1.0), NOW + 2)


async def test_records_of_two_sessions_cannot_be_swapped(url: str, change: Change) -> None:
    """R-STO-2."""
    async with open_store(url) as store:
        for name in ("s", "t"):
            await store.put(record_of(name), expect=0)
    there = dict(change({}))
    change({b"ss": there[b"st"]})
    change({b"st": there[b"ss"][:61] + there[b"st"][61:]})
    async with open_store(url) as store:
        for name in ("s", "t"):
            with pytest.raises(Corrupt):
                await store.get(name)


async def test_what_lies_beside_a_changed_byte_in_the_file_is_read(url: str, kind: str, folder: Path) -> None:
    """R-STO-2: the engine calls the whole block damaged; the checksum of each record knows better."""
    records = [record_of(f"s{at:04}", metadata=b"x" * 1000) for at in range(400)]
    async with open_store(url) as store:
        await asyncio.gather(*(store.put(record, expect=0) for record in records))
    async with open_store(url):
        pass  # what is in the log comes to a table, when it is closed or opened
    damage_a_table(folder, b"s0200")
    async with open_store(url) as store:
        found = await asyncio.gather(*(store.get(record.id) for record in records), return_exceptions=True)
        assert [type(each).__name__ for each in found].count("Corrupt") == 1
        assert len((await store.scan(Query())).records) == 399


async def test_a_block_that_is_wrecked_is_told_and_never_taken_for_the_end(url: str, folder: Path) -> None:
    """R-STO-2: what is in it is neither gone nor left out without a word; what lies elsewhere is read."""
    records = [record_of(f"s{at:04}", metadata=b"x" * 1000) for at in range(400)]
    async with open_store(url) as store:
        await asyncio.gather(*(store.put(record, expect=0) for record in records))
    async with open_store(url):
        pass
    damage_a_table(folder, b"s0200", whole=True)
    async with open_store(url) as store:
        found = await asyncio.gather(*(store.get(record.id) for record in records), return_exceptions=True)
        kinds = [type(each).__name__ for each in found]
        assert set(kinds) == {"Record", "Corrupt"}
        assert kinds.count("Corrupt") < 20
        with pytest.raises(Corrupt):
            await store.scan(Query())
        with pytest.raises(Corrupt):
            await store.put(record_of("s0200", version=2), expect=1)
        await store.put(record_of("s0100", version=2), expect=1)
