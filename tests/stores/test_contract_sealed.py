"""Stores that compress and encrypt what they keep promise the same (R-STO-1, R-STO-6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import Codec, open_store
from holdfast.stores.contract import Store
from holdfast.testing.contracts import DescribedContract, JournalContract, ListingContract, StoreContract
from tests.codec.sealing import NEW


@pytest.fixture(params=["sqlite", "rocksdb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"{request.param}:///{tmp_path}/s", codec=Codec(keys=NEW, compress=True)) as store:
        yield store


class TestSealedStore(StoreContract):
    pass


class TestSealedJournal(JournalContract):
    pass


class TestSealedListing(ListingContract):
    pass


class TestSealedDescribed(DescribedContract):
    pass
