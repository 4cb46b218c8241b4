"""Stores with something in them, and what is in a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from holdfast import open_store
from holdfast.backup import Made, back_up
from holdfast.model.session import Record
from holdfast.stores import Dumped, DumpPage, Journal, Store
from holdfast.stores.contract import Kind, append_to
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, entry_of, record_of

CLOCK_AT = NOW + 10


async def fill(store: Store, count: int = 30, *, fields: dict[str, Any] | None = None) -> None:
    """Put `count` records, `s0` with a journal, and give a term out."""
    assert isinstance(store, Journal)
    for at in range(count):
        await store.put(record_of(f"s{at}", metadata=b"m" * at, **(fields or {})), expect=0, durable=False)
    await append_to(store, "s0", 1, [entry_of("a", 0, Kind.OPENING, request=b"1"), entry_of("a", 1, data=b"x" * 100)])
    await store.next_term()


async def contents(url: str) -> tuple[dict[str, Record], list[tuple[str, object]], int]:
    """Return the records, the entries and the last term of a store."""
    async with open_store(url) as store:
        assert isinstance(store, Dumped)
        async with store.dump() as pages:
            return gathered([page async for page in pages])


def gathered(pages: list[DumpPage]) -> tuple[dict[str, Record], list[tuple[str, object]], int]:
    """Return the records, the entries and the last term in pages."""
    records = {record.id: record for page in pages for record in page.records}
    entries = sorted((each for page in pages for each in page.entries), key=lambda each: each.number)
    return records, [(each.session_id, each.entry) for each in entries], pages[0].term


async def backed_up(url: str, to: Path, at: float = CLOCK_AT) -> Made:
    """Back the store at `url` up."""
    async with open_store(url) as store:
        return await back_up(store, to, clock=ManualClock(at))


async def filled(url: str, count: int = 30, **fields: Any) -> None:
    """Make a store with something in it."""
    async with open_store(url) as store:
        await fill(store, count, fields=fields)


async def paged(pages: list[DumpPage]) -> AsyncIterator[DumpPage]:
    """Yield pages as a dump does."""
    for page in pages:
        await asyncio.sleep(0)
        yield page
