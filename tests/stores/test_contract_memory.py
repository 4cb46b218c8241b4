"""The store in memory keeps the contract (R-STO-1)."""

from __future__ import annotations

import pytest

from holdfast.stores import MemoryStore
from holdfast.testing.contracts import (
    DescribedContract,
    DumpContract,
    HistoryContract,
    JournalContract,
    ListingContract,
    ResidentContract,
    StoreContract,
)


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore()


class TestMemoryStore(StoreContract):
    pass


class TestMemoryHistories(HistoryContract):
    pass


class TestMemoryJournal(JournalContract):
    pass


class TestMemoryListing(ListingContract):
    pass


class TestMemoryResident(ResidentContract):
    pass


class TestMemoryDescribed(DescribedContract):
    pass


class TestMemoryDump(DumpContract):
    pass
