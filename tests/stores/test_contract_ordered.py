"""The stores in LevelDB and RocksDB keep the contract (R-STO-1, R-STO-3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import open_store
from holdfast.stores.ordered import OrderedStore
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

from .engines import ENGINES


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[OrderedStore]:
    async with open_store(f"{request.param}:///{tmp_path}/sessions", clock=clock) as store:
        assert isinstance(store, OrderedStore)
        yield store


class TestOrderedStore(StoreContract):
    pass


class TestOrderedHistories(HistoryContract):
    pass


class TestOrderedJournal(JournalContract):
    pass


class TestOrderedListing(ListingContract):
    pass


class TestOrderedDescribed(DescribedContract):
    pass


class TestOrderedDump(DumpContract):
    pass


class TestOrderedFeed(FeedContract):
    pass
