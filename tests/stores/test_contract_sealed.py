"""Stores that compress and encrypt what they keep promise the same (R-STO-1, R-STO-6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import Codec, open_store
from holdfast.stores.contract import Store
from holdfast.testing.contracts import DescribedContract, JournalContract, ListingContract, StoreContract
from tests.codec.sealing import NEW

# SQLite counts what it keeps, which is longer than what it was given: test_sealed.py has its own test of that.
BY_THE_BYTE = {
    "test_trim_counts_the_bytes_of_a_session_and_spares_the_others",
    "test_trim_counts_the_bytes_of_all_oldest_first",
    "test_openings_and_final_entries_push_no_message_out",
    "test_what_was_appended_twice_or_is_gone_counts_no_more",
}


@pytest.fixture(params=["sqlite", "rocksdb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "sqlite" and request.function.__name__ in BY_THE_BYTE:
        pytest.skip("SQLite counts sealed entries as it keeps them")
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
