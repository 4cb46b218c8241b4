"""The suite for stores that list ids."""

from __future__ import annotations

from typing import Protocol

import pytest

from ..model.errors import Misused
from ..stores.contract import Listing, Store
from .records import NOW, record_of


class ListingStore(Store, Listing, Protocol):
    """A store that lists ids."""


class ListingContract:
    """Every sentence of `stores.contract.Listing`."""

    async def test_every_id_is_listed_once_in_pages(self, store: ListingStore) -> None:
        """R-MGR-6."""
        names = [f"é{at}" for at in range(25)]
        for name in names:
            await store.put(record_of(name), expect=0)
        assert sorted(await _listed(store, NOW, limit=4)) == sorted(names)
        assert sorted(await _listed(store, NOW, limit=25)) == sorted(names)

    async def test_what_is_terminated_or_expired_is_not_listed(self, store: ListingStore) -> None:
        """R-MGR-3."""
        await store.put(record_of("active", timeout=61.0), expect=0)
        await store.put(record_of("never", timeout=None), expect=0)
        await store.put(record_of("idle"), expect=0)
        await store.put(record_of("aged", timeout=None, max_age=60.0), expect=0)
        await store.put(record_of("ended", timeout=None, state="terminated"), expect=0)
        assert sorted(await _listed(store, NOW + 60, limit=2)) == ["active", "never"]

    async def test_an_access_told_keeps_an_id_listed_and_never_past_its_age(self, store: ListingStore) -> None:
        """R-STO-5."""
        await store.put(record_of("used"), expect=0)
        await store.put(record_of("aged", max_age=60.0), expect=0)
        for name in ("used", "aged"):
            await store.touch(name, NOW + 30, within_s=1000.0)
        assert await _listed(store, NOW + 89) == ["used"]
        assert await _listed(store, NOW + 90) == []

    async def test_a_list_tolerates_writes_and_deletes(self, store: ListingStore) -> None:
        """R-MGR-6."""
        names = [f"s{at}" for at in range(12)]
        for name in names:
            await store.put(record_of(name), expect=0)
        first = await store.list_ids(NOW, limit=5)
        await store.delete(first.ids[-1])
        await store.put(record_of(first.ids[0], version=2), expect=1)
        rest = await _listed(store, NOW, cursor=first.cursor)
        assert sorted(first.ids + rest) == sorted(names)

    async def test_a_foreign_cursor_of_ids_is_refused(self, store: ListingStore) -> None:
        """R-MGR-6."""
        with pytest.raises(Misused):
            await store.list_ids(NOW, cursor="x")


async def _listed(store: ListingStore, now: float, *, cursor: str | None = None, limit: int = 1000) -> list[str]:
    found: list[str] = []
    for _ in range(1000):
        page = await store.list_ids(now, cursor=cursor, limit=limit)
        assert len(page.ids) <= limit
        found += page.ids
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the list does not end")
