"""The store in memory keeps the contract (R-STO-1)."""

from __future__ import annotations

import pytest

from holdfast.stores import MemoryStore
from holdfast.testing.contracts import JournalContract, ListingContract, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore()


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore()


class TestMemoryListing(ListingContract):
    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore()
