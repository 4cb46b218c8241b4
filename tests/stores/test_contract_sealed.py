"""Stores that compress and encrypt what they keep promise the same (R-STO-1, R-STO-6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from holdfast import Codec, open_store
from holdfast.stores.contract import JournalBounds, Kind, Store, append_to
from holdfast.testing import ManualClock
from holdfast.testing.contracts import (
    DescribedContract,
    DumpContract,
    FeedContract,
    JournalContract,
    ListingContract,
    StoreContract,
)
from holdfast.testing.journal_contract import JournalStore
from holdfast.testing.records import NOW, entry_of, record_of
from tests.codec.sealing import NEW

CODEC: Final = Codec(keys=NEW, compress=True)
START: Final = (0, -1)
DATA: Final = b"x" * 100
KEPT_BYTES: Final = len(CODEC.seal_bytes(bytes(4) + DATA, b""))  # with how long the request is, which is empty


def sealed(kind: str, folder: Path, clock: ManualClock | None = None) -> AbstractAsyncContextManager[Store]:
    return open_store(f"{kind}:///{folder}/s", codec=CODEC, clock=clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "rocksdb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with sealed(request.param, tmp_path, clock) as store:
        yield store


async def write_stream(store: JournalStore, session_id: str, *, messages: int) -> None:
    """Write an opening, so many messages of 100 bytes, and a final entry."""
    await store.put(record_of(session_id), expect=0)
    entries = [entry_of("a", seq, data=DATA) for seq in range(1, messages + 1)]
    ends = entry_of("a", 0, Kind.OPENING), entry_of("a", messages + 1, Kind.FINAL)
    await append_to(store, session_id, 1, [ends[0], *entries, ends[1]])


class TestSealedStore(StoreContract):
    pass


class TestSealedJournal(JournalContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with sealed("rocksdb", tmp_path) as store:
            yield store


class TestSealedJournalOfSqlite(JournalContract):
    """SQLite counts what it keeps of sealed entries, which is longer than what it was given."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with sealed("sqlite", tmp_path) as store:
            yield store

    async def test_trim_counts_the_bytes_of_a_session_and_spares_the_others(self, store: JournalStore) -> None:
        await write_stream(store, "s", messages=10)
        await write_stream(store, "t", messages=2)
        assert len(DATA) < KEPT_BYTES
        assert await store.trim(JournalBounds(session_bytes_max=10 * KEPT_BYTES), NOW) == 0
        assert await store.trim(JournalBounds(session_bytes_max=5 * KEPT_BYTES - 1), NOW) == 6
        assert len(await store.read("t", "a", after=START)) == 4

    async def test_trim_counts_the_bytes_of_all_oldest_first(self, store: JournalStore) -> None:
        await write_stream(store, "old", messages=5)
        await write_stream(store, "new", messages=5)
        assert await store.trim(JournalBounds(total_bytes_max=7 * KEPT_BYTES), NOW) == 3
        assert len(await store.read("old", "a", after=START)) == 4
        assert len(await store.read("new", "a", after=START)) == 7

    async def test_openings_and_final_entries_push_no_message_out(self, store: JournalStore) -> None:
        await write_stream(store, "s", messages=3)
        await append_to(store, "s", 1, [entry_of(f"b{at}", 1, Kind.FINAL, data=DATA) for at in range(20)])
        all_bytes = 3 * KEPT_BYTES
        bounds = JournalBounds(session_entries_max=3, session_bytes_max=all_bytes, total_bytes_max=all_bytes)
        assert await store.trim(bounds, NOW) == 0
        assert len(await store.read("s", "a", after=START)) == 5

    async def test_what_was_appended_twice_or_is_gone_counts_no_more(self, store: JournalStore) -> None:
        half_bytes = 5 * KEPT_BYTES
        bounds = JournalBounds(session_entries_max=5, session_bytes_max=half_bytes, total_bytes_max=2 * half_bytes)
        for name in ("s", "t", "gone"):
            await write_stream(store, name, messages=5)
        await append_to(store, "s", 1, [entry_of("a", seq, data=DATA) for seq in range(1, 6)])
        await store.delete("gone")
        assert await store.trim(bounds, NOW) == 0
        await append_to(store, "s", 1, [entry_of("b", 1, data=DATA)])
        assert await store.trim(bounds, NOW) == 1
        assert [entry.seq for entry in await store.read("s", "a", after=START)] == [0, 2, 3, 4, 5, 6]
        assert await store.trim(bounds, NOW) == 0


class TestSealedListing(ListingContract):
    pass


class TestSealedDescribed(DescribedContract):
    pass


class TestSealedFeed(FeedContract):
    pass


class TestSealedDump(DumpContract):
    pass
