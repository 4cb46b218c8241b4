"""What a feed says of a store that was filled with what another one gave, or nearly was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from holdfast import Codec, CursorExpired, KeyRing, Misused, open_store
from holdfast.model.session import Record
from holdfast.stores.contract import Dumped, DumpedEntry, DumpPage, Feed, Store
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, entry_of, record_of

from .engines import ENGINES

CODECS = {"plain": Codec(), "sealed": Codec(keys=KeyRing({"2027": b"n" * 32}), compress=True)}


class FeedStore(Store, Feed, Dumped, Protocol):
    """What these tests need."""


@pytest.fixture(params=["sqlite", *ENGINES])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CODECS)
async def store(request: pytest.FixtureRequest, kind: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with open_store(f"{kind}:///{tmp_path}/s", codec=CODECS[request.param], clock=clock) as store:
        yield store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def pages(records: Sequence[Record], then: BaseException | None = None) -> AsyncIterator[DumpPage]:
    for record in records:
        yield DumpPage(term=7, records=[record], entries=[DumpedEntry(record.id, len(record.id), entry_of("a", 0))])
    if then is not None:
        raise then


async def past_of(store: Feed, at: float) -> set[str]:
    found: set[str] = set()
    cursor: str | None = None
    while True:
        page = await store.state_at(at, cursor=cursor)
        found |= {record.id for record in page.records}
        cursor = page.cursor
        if cursor is None:
            return found


async def used(store: FeedStore) -> str:
    """Write and delete a session; return the cursor behind its first change."""
    await store.put(record_of("old"), expect=0)
    (first,) = (await store.changes()).changes
    await store.delete("old")
    return first.cursor


async def test_whoever_followed_is_told_to_read_what_was_loaded(store: FeedStore, clock: ManualClock) -> None:
    """R-MGR-7, R-STO-8: from the position on, all is told again."""
    behind = await used(store)
    clock.advance(10)
    await store.load(pages([record_of("s", version=5), record_of("tt", version=9)]))
    for cursor in (behind, None):
        if cursor is not None:
            with pytest.raises(CursorExpired, match="position"):
                await store.changes(after=cursor)
    assert (await store.changes()).changes == []
    position = await store.position()
    await store.put(record_of("s", version=6), expect=5)
    await store.delete("tt")
    changes = (await store.changes(after=position)).changes
    assert [(change.record.id, change.record.version) for change in changes] == [("s", 6), ("tt", 9)]


async def test_the_past_of_what_was_loaded_begins_then(store: FeedStore, clock: ManualClock) -> None:
    """R-MGR-10."""
    await used(store)
    clock.advance(10)
    await store.load(pages([record_of("s"), record_of("tt")]))
    with pytest.raises(Misused, match="earliest"):
        await store.state_at(NOW + 9)
    clock.advance(10)
    await store.delete("s")
    assert await past_of(store, NOW + 10) == {"s", "tt"}
    assert await past_of(store, NOW + 20) == {"tt"}


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_load_that_fails_leaves_the_feed_as_it_was(
    store: FeedStore, clock: ManualClock, error: type[BaseException]
) -> None:
    """R-STO-8."""
    behind = await used(store)
    clock.advance(10)
    with pytest.raises(error):
        await store.load(pages([record_of("s"), record_of("tt")], then=error()))
    assert [change.record.id for change in (await store.changes(after=behind)).changes] == ["old"]
    assert await past_of(store, NOW - 1) == set()
    assert await past_of(store, NOW + 10) == set()
    await store.put(record_of("s"), expect=0)


async def test_a_load_that_is_cancelled_again_and_again_leaves_nothing(kind: str, tmp_path: Path) -> None:
    """R-STO-8: and a store that can be opened."""
    url = f"{kind}:///{tmp_path}/s"
    async with open_store(url) as store:
        assert isinstance(store, Dumped)
        loading = asyncio.ensure_future(store.load(endless(begun := asyncio.Event())))
        await begun.wait()
        while not loading.done():
            loading.cancel()
            await asyncio.sleep(0)
        assert loading.cancelled()
    async with open_store(url) as store:
        assert await store.get("s0") is None
        await store.put(record_of("s0"), expect=0)


async def endless(begun: asyncio.Event) -> AsyncIterator[DumpPage]:
    """Yield many pages, and then wait for ever."""
    for at in range(50):
        yield DumpPage(records=[record_of(f"s{at}")])
    begun.set()
    await asyncio.Event().wait()
