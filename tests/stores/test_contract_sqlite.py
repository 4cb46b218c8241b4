"""The store in a SQLite file keeps the contract (R-STO-1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.stores.sqlite import SqliteStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts import (
    DescribedContract,
    DumpContract,
    FeedContract,
    HistoryContract,
    JournalContract,
    ListingContract,
    StoreContract,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(tmp_path / "sessions.db", clock=clock) as store:
        yield store


class TestSqliteStore(StoreContract):
    pass


class TestSqliteHistories(HistoryContract):
    pass


class TestSqliteJournal(JournalContract):
    pass


class TestSqliteListing(ListingContract):
    pass


class TestSqliteDescribed(DescribedContract):
    pass


class TestSqliteDump(DumpContract):
    pass


class TestSqliteFeed(FeedContract):
    pass
