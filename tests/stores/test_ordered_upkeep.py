"""LevelDB and RocksDB stores are looked at, checked and repaired by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import Codec, Conflict, Corrupt, KeyMissing, Misused, Unavailable, open_store
from holdfast.stores import ordered_keys as keys
from holdfast.stores import upkeep_of
from holdfast.stores.contract import Journal, append_to
from holdfast.stores.ordered_folder import MARKER
from holdfast.stores.ordered_replace import DRIVERS
from holdfast.testing.records import NOW, entry_of, record_of
from tests.codec.sealing import NEW, OLD

from .engines import ENGINES
from .test_ordered_files import damage_a_table


@pytest.fixture(params=ENGINES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def url(kind: str, folder: Path) -> str:
    return f"{kind}:///{folder}"


def told(*_: object) -> None:
    """Be told of progress."""


@asynccontextmanager
async def opened(url: str, codec: Codec | None = None) -> AsyncIterator[Any]:
    async with open_store(url, codec=codec or Codec()) as store:
        assert isinstance(store, Journal)
        yield store


async def fill(url: str, count: int = 30, codec: Codec | None = None) -> None:
    async with opened(url, codec) as store:
        for at in range(count):
            await store.put(record_of(f"s{at:03}", timeout=None, term=1), expect=0)
            await append_to(store, f"s{at:03}", 1, [entry_of("a", seq) for seq in range(3)])
        await store.next_term()


def overwrite(kind: str, folder: Path, key: bytes) -> None:
    """Change a byte of a value in the closed database."""
    engine = DRIVERS[kind]()(folder)
    value = engine.get(key)
    assert value
    engine.write({key: value[:-1] + bytes([value[-1] ^ 1])}, sync=True)
    engine.close()


def cut_off(folder: Path) -> None:
    for manifest in folder.glob("MANIFEST-*"):
        manifest.write_bytes(manifest.read_bytes()[:10])


async def test_info_says_what_it_is(url: str, kind: str) -> None:
    """R-MGR-14."""
    await fill(url, 3)
    await fill(url.replace("sessions", "other"), 2, Codec(keys=NEW))
    found = upkeep_of(url).inspect(NOW)
    assert (found.info.kind, found.sessions) == (kind, {"active": 3, "terminated": 0})
    assert (found.keys, found.size_bytes > 0) == ({"": 3 + 3 + 9}, True)
    assert upkeep_of(url.replace("sessions", "other")).inspect(NOW).keys == {"2027": 2 + 2 + 6}


async def test_a_look_at_a_store_of_an_earlier_version_leaves_it_to_that_one(url: str, kind: str, folder: Path) -> None:
    """R-STO-2: it is brought to this version's schema when it is opened to be used."""
    await fill(url, 3)
    earlier = f"holdfast {kind} schema 1\n"
    (folder / MARKER).write_text(earlier)
    assert upkeep_of(url).inspect(NOW).info.schema == 1
    assert upkeep_of(url).check(told).sound
    assert (folder / MARKER).read_text() == earlier
    async with opened(url):
        pass
    assert (folder / MARKER).read_text() != earlier


async def test_a_sound_store_is_found_sound_and_left_alone(url: str, folder: Path) -> None:
    """R-STO-2."""
    await fill(url)
    upkeep = upkeep_of(url)
    assert (upkeep.check(told).sound, upkeep.check(told).records) == (True, 30)
    repaired = await asyncio.to_thread(upkeep.repair, told)
    assert (repaired.kept, repaired.sessions) == ("", 30)
    assert [path.name for path in folder.parent.iterdir()] == ["sessions"]


async def test_a_damaged_record_is_left_behind_with_its_journal(url: str, kind: str, folder: Path) -> None:
    """R-STO-2: all others are there again with theirs, and no term is given out again."""
    await fill(url)
    overwrite(kind, folder, keys.SESSION + b"s007")
    findings = upkeep_of(url).check(told)
    assert (findings.sound, findings.records, findings.damaged, findings.named) == (False, 29, 1, ("s007…",))
    repaired = await asyncio.to_thread(upkeep_of(url).repair, told)
    assert (repaired.sessions, repaired.entries, repaired.lost_sessions) == (29, 87, 1)
    assert Path(repaired.kept).name in {path.name for path in folder.parent.iterdir()}
    async with opened(url) as store:
        assert await store.get("s007") is None
        assert await store.get("s008") == record_of("s008", timeout=None, term=1)
        assert len(await store.read("s008", "a", after=(0, -1))) == 3
        assert await store.next_term() > 1
    assert upkeep_of(url).check(told).sound


async def test_a_damaged_entry_is_left_behind_alone(url: str, kind: str, folder: Path) -> None:
    """R-STO-2."""
    await fill(url, 3)
    engine = DRIVERS[kind]()(folder)
    (key, _), *_ = engine.iterate(keys.ENTRY, keys.after(keys.ENTRY), 1)
    engine.close()
    overwrite(kind, folder, key)
    assert upkeep_of(url).check(told).pages == ("1 entries of journals are damaged",)
    repaired = await asyncio.to_thread(upkeep_of(url).repair, told)
    assert (repaired.sessions, repaired.entries, repaired.lost_entries) == (3, 8, 1)


@pytest.mark.parametrize("prefix", ["s", "tenant-with-a-rather-long-name/"])
async def test_around_a_wrecked_block_everything_is_saved(url: str, folder: Path, prefix: str) -> None:
    """R-STO-2: which hides what comes behind it from whoever goes through the database."""
    async with opened(url) as store:
        for at in range(200):
            await store.put(record_of(f"{prefix}{at:03}", timeout=None, metadata=b"x" * 500), expect=0)
    async with opened(url):
        pass  # which brings what was written from the log into a table
    damage_a_table(folder, f"{prefix}100".encode(), whole=True)
    assert not upkeep_of(url).check(told).sound
    repaired = await asyncio.to_thread(upkeep_of(url).repair, told)
    assert 150 <= repaired.sessions < 200
    async with opened(url) as store:
        assert await store.get(f"{prefix}000") is not None
        assert await store.get(f"{prefix}199") is not None
    assert upkeep_of(url).check(told).sound


async def test_a_folder_that_cannot_be_opened_is_made_whole_in_a_copy(url: str, folder: Path) -> None:
    """R-STO-2: what says which files belong to the database is cut off."""
    await fill(url)
    async with opened(url):
        pass
    cut_off(folder)
    with pytest.raises((Corrupt, Unavailable)):
        async with opened(url):
            pass
    repaired = await asyncio.to_thread(upkeep_of(url).repair, told)
    assert (repaired.sessions, repaired.entries) == (30, 90)
    async with opened(url) as store:
        assert await store.get("s029") == record_of("s029", timeout=None, term=1)


@pytest.mark.parametrize("does", ["inspect", "check", "repair"])
async def test_what_is_no_store_or_is_open_is_told_and_left_alone(url: str, kind: str, folder: Path, does: str) -> None:
    """R-STO-2."""
    act = getattr(upkeep_of(url), does)
    with pytest.raises(Misused, match="is not there"):
        act(NOW if does == "inspect" else told)
    assert list(folder.parent.iterdir()) == []
    async with opened(url):
        with pytest.raises((Conflict, Unavailable), match="open"):
            await asyncio.to_thread(act, NOW if does == "inspect" else told)


async def test_what_is_encrypted_is_repaired_with_its_keys(url: str, kind: str, folder: Path) -> None:
    """R-STO-6: and without them nothing is changed."""
    await fill(url, 5, Codec(keys=NEW))
    overwrite(kind, folder, keys.SESSION + b"s003")
    assert (upkeep_of(url).check(told).locked, upkeep_of(url).check(told).damaged) == (4, 1)
    with pytest.raises(KeyMissing):
        await asyncio.to_thread(upkeep_of(url, codec=Codec(keys=OLD)).repair, told)
    assert (await asyncio.to_thread(upkeep_of(url, codec=Codec(keys=NEW)).repair, told)).sessions == 4
    async with opened(url, Codec(keys=NEW)) as store:
        assert await store.get("s001") is not None


async def test_a_store_of_which_nothing_is_left_is_kept_as_it_is(url: str, kind: str, folder: Path) -> None:
    """R-STO-2."""
    await fill(url, 1)
    overwrite(kind, folder, keys.SESSION + b"s000")
    with pytest.raises(Corrupt, match="no session that can be read"):
        await asyncio.to_thread(upkeep_of(url).repair, told)
    assert [path.name for path in folder.parent.iterdir()] == ["sessions"]
