"""The feed of an ordered store, beyond the contract: folders of the schema before, power failures, damage."""

from __future__ import annotations

import asyncio
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast import open_store
from holdfast.model import CursorExpired, Misused
from holdfast.stores import ordered_keys as keys
from holdfast.stores.contract import Change, ChangeKind, Feed
from holdfast.stores.leveldb import driver as leveldb
from holdfast.stores.ordered import OrderedStore
from holdfast.stores.ordered_engine import Engine
from holdfast.stores.ordered_log import change_key
from holdfast.stores.rocksdb import driver as rocksdb
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, record_of

from .engines import ENGINES

Rows = dict[bytes, bytes | None]


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/sessions"


def change(url: str, make: Callable[[dict[bytes, bytes]], Rows]) -> None:
    """Change a closed database by what `make` returns of all that is in it."""
    kind, folder = url.split(":///")
    engine: Engine = (leveldb if kind == "leveldb" else rocksdb)()(Path(folder))
    try:
        engine.write(make(dict(engine.iterate(b"\0", b"\xff", 10_000))), sync=True)
    finally:
        engine.close()


def as_schema_1(rows: dict[bytes, bytes]) -> Rows:
    """Return what makes a database what it was before there was a feed."""
    found: Rows = {}
    for key, value in rows.items():
        if key[:1] in (keys.FEED, keys.PART, keys.CHANGE):
            found[key] = None
        elif key[:1] == keys.SESSION:
            head = value[4:53]
            head = head[:-1] + bytes([head[-1] & 0x7F])
            found[key] = zlib.crc32(head, zlib.crc32(key[1:])).to_bytes(4, "big") + head + keys.sealed_of(value)
    return found


async def changes_of(store: Feed, after: str | None = None) -> list[Change]:
    return (await store.changes(after=after, limit=1000)).changes


async def test_a_folder_of_schema_1_is_read_and_its_feed_begins(url: str) -> None:
    """R-STO-1, R-MGR-10: what was there is known, whatever becomes of it; an earlier version refuses it then."""
    records = [record_of(name, timeout=None) for name in ("kept", "written", "deleted", "used")]
    async with open_store(url) as store:
        for record in records:
            await store.put(record, expect=0)
    await asyncio.to_thread(change, url, as_schema_1)
    marker = Path(url.split(":///")[1]) / "holdfast-store"
    await asyncio.to_thread(marker.write_text, f"holdfast {url.split(':', maxsplit=1)[0]} schema 1\n")
    clock = ManualClock(NOW + 1000)
    async with open_store(url, clock=clock) as store:
        assert isinstance(store, OrderedStore)
        assert [await store.get(record.id) for record in records] == records
        await store.touch("used", NOW + 5)
        with pytest.raises(Misused, match="earliest"):
            await store.state_at(NOW + 999)
        clock.advance(1)
        await store.put(record_of("written", version=2, created_at=NOW), expect=1)
        assert await store.delete("deleted", expect=record_of("deleted")) is True
        past = await store.state_at(NOW + 1000)
        found = [*past.records, *(await store.state_at(NOW + 1000, cursor=past.cursor)).records]
        assert {record.id: record for record in found} == {record.id: record for record in records}
        assert [each.kind for each in await changes_of(store)] == [ChangeKind.UPDATED, ChangeKind.DELETED]
    assert (await asyncio.to_thread(marker.read_text)).endswith(" schema 2\n")


async def test_whoever_has_seen_what_a_power_failure_took_is_told(url: str, tmp_path: Path) -> None:
    """R-MGR-7."""
    folder, held = tmp_path / "sessions", tmp_path / "held"
    async with open_store(url) as store:
        assert isinstance(store, Feed)
        await store.put(record_of("a"), expect=0)
        kept = await store.position()
    await asyncio.to_thread(shutil.copytree, folder, held)
    async with open_store(url) as store:
        assert isinstance(store, Feed)
        await store.put(record_of("lost"), expect=0)
        seen = await store.position()
    await asyncio.to_thread(shutil.rmtree, folder)
    await asyncio.to_thread(held.rename, folder)
    async with open_store(url) as store:
        assert isinstance(store, Feed)
        for _ in range(2):
            with pytest.raises(CursorExpired, match="power"):
                await store.changes(after=seen)
            await store.put(record_of("other", version=1), expect=0)
            await store.delete("other")
        assert [each.record.id for each in await changes_of(store, kept)] == ["other"] * 4


async def test_a_damaged_change_is_left_out_and_those_beside_it_are_told(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R-STO-2."""
    async with open_store(url) as store:
        for name in ("a", "b", "c"):
            await store.put(record_of(name), expect=0)

    def damaged(rows: dict[bytes, bytes]) -> Rows:
        (key,) = [key for key, value in rows.items() if key[:1] == keys.CHANGE and b"b" + b"HF" in value]
        return {key: rows[key][:-1] + bytes([rows[key][-1] ^ 1])}

    await asyncio.to_thread(change, url, damaged)
    async with open_store(url) as store:
        assert isinstance(store, Feed)
        assert [each.record.id for each in await changes_of(store)] == ["a", "c"]
        assert "left out of the feed" in caplog.text


def test_numbers_of_changes_sort_as_they_were_given() -> None:
    assert sorted(map(change_key, (300, 2, 2**40))) == [change_key(2), change_key(300), change_key(2**40)]
