"""A store with memory beside it keeps the contract of stores, whichever side a record is on (R-STO-1, R-MGR-1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.model import Misused, VersionConflict
from holdfast.model.session import Record
from holdfast.stores import BesideStore, DumpPage, Feed, MemoryStore, Query
from holdfast.stores.beside import ResidentBesideStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts import (
    DescribedContract,
    DumpContract,
    FeedContract,
    HistoryContract,
    JournalContract,
    ListingContract,
    ResidentContract,
    StoreContract,
)
from holdfast.testing.records import NOW, record_of


class AllHere(BesideStore):
    """Holds every new record in memory, so that the suites judge that side too."""

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        if expect:
            await super().put(record, expect=expect, durable=durable)
        else:
            await self.hold(record)


@pytest.fixture(params=["here", "there", "in a file"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BesideStore]:
    if request.param == "in a file":
        async with SqliteStore.open(tmp_path / "sessions.db") as main:
            yield BesideStore(main)
    else:
        yield AllHere(MemoryStore()) if request.param == "here" else BesideStore(MemoryStore())


class TestBesideStore(StoreContract):
    pass


class TestBesideResident(ResidentContract):
    """Where the main store is resident."""

    @pytest.fixture
    async def store(self) -> ResidentBesideStore:
        store = BesideStore.around(MemoryStore())
        assert isinstance(store, ResidentBesideStore)
        return store


class TestBesideHistories(HistoryContract):
    pass


class TestBesideJournal(JournalContract):
    pass


class TestBesideListing(ListingContract):
    pass


class TestBesideDescribed(DescribedContract):
    pass


class TestBesideFeed(FeedContract):
    """Where the main store keeps a feed."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[BesideStore]:
        async with SqliteStore.open(tmp_path / "sessions.db", clock=clock) as main:
            store = BesideStore.around(main)
            await store.hold(record_of("held"))
            yield store


async def test_the_feed_is_there_where_the_main_store_has_one(tmp_path: Path) -> None:
    """R-MGR-7."""
    async with SqliteStore.open(tmp_path / "sessions.db") as main:
        assert isinstance(BesideStore.around(main), Feed)
    assert not isinstance(BesideStore.around(MemoryStore()), Feed)


class TestBesideDump(DumpContract):
    @pytest.fixture
    async def store(self) -> BesideStore:
        return BesideStore(MemoryStore())


async def test_what_is_in_memory_only_is_never_dumped(tmp_path: Path) -> None:
    """R-MGR-1: nor is the store loaded that others believe to be empty."""
    async with SqliteStore.open(tmp_path / "sessions.db") as main:
        store = BesideStore(main)
        await store.put(record_of("there"), expect=0)
        await store.hold(record_of("here"))
        assert (store.holds("here"), store.holds("there")) == (True, False)
        async with store.dump() as pages:
            assert [record.id async for page in pages for record in page.records] == ["there"]
        await store.delete("there")
        with pytest.raises(Misused, match="in memory already"):
            await store.load(nothing())


async def nothing() -> AsyncIterator[DumpPage]:
    for _ in ():
        yield DumpPage()


async def test_an_id_is_there_once_whichever_side_it_is_on(store: BesideStore) -> None:
    """R-MGR-1."""
    await store.put(record_of("there"), expect=0)
    await store.hold(record_of("here"))
    for taken in ("here", "there"):
        with pytest.raises(VersionConflict):
            await store.hold(record_of(taken))
        with pytest.raises(VersionConflict):
            await store.put(record_of(taken), expect=0)
    racing = (store.hold(record_of("s", owner="h")), store.put(record_of("s", owner="t"), expect=0))
    outcomes = await asyncio.gather(*racing, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(VersionConflict) == 1


async def test_what_does_not_wait_finds_either_side() -> None:
    """R-MGR-1."""
    store = BesideStore.around(MemoryStore())
    assert isinstance(store, ResidentBesideStore)
    await store.hold(record_of("here"))
    store.put_now(record_of("there"), 0)
    for name in ("here", "there"):
        assert store.get_now(name) == record_of(name)
        assert store.use_now(name, NOW + 1) is not None
        store.put_now(record_of(name, version=2), 1)
        with pytest.raises(VersionConflict):
            store.put_now(record_of(name), 0)
    assert await store.delete("here")
    store.put_now(record_of("here"), 0)


async def test_a_scan_goes_through_both_sides(store: BesideStore) -> None:
    """R-MGR-6."""
    names = [f"{side}{at}" for at in range(5) for side in "ht"]
    for name in names:
        await (store.hold(record_of(name)) if name[0] == "h" else store.put(record_of(name), expect=0))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        page = await store.scan(Query(), cursor=cursor, limit=2)
        seen += [record.id for record in page.records]
        # Behind a record a scan goes on as well as behind a page.
        cursor = page.cursors[-1] if page.cursors and page.cursor else page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(names)
    with pytest.raises(Misused):
        await store.scan(Query(), cursor="there:nonsense")


async def test_what_expires_goes_on_both_sides(store: BesideStore) -> None:
    """R-MGR-5."""
    await store.hold(record_of("here", timeout=1.0))
    await store.put(record_of("there", timeout=1.0), expect=0)
    gone = [*await store.expire(NOW + 1, limit=1), *await store.expire(NOW + 1, limit=1)]
    assert sorted(record.id for record in gone) == ["here", "there"]
    await store.hold(record_of("there"))
    await store.put(record_of("here"), expect=0)


async def test_what_the_main_store_cannot_do_is_said(tmp_path: Path) -> None:
    class Plain:
        """A store of six methods, which a `BesideStore` calls only for what is there."""

    beside = BesideStore(Plain())  # type: ignore[arg-type]  # it is never asked for a record
    with pytest.raises(Misused, match="journal"):
        await beside.unfinished("s")
    with pytest.raises(Misused, match="Described"):
        await beside.info()


class Gated(MemoryStore):
    """A main store that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def get(self, session_id: str) -> Record | None:
        found = await super().get(session_id)
        await self.let.wait()
        return found

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        await self.let.wait()
        await super().put(record, expect=expect, durable=durable)


@pytest.mark.parametrize("first", ["hold", "put"])
async def test_an_id_is_taken_while_the_main_store_is_asked_for_it(first: str) -> None:
    """R-MGR-1: whoever came first gets it, however long that store takes."""
    main = Gated()
    store = BesideStore(main)
    acts = {"hold": store.hold(record_of("s", owner="h")), "put": store.put(record_of("s", owner="p"), expect=0)}
    begun = asyncio.ensure_future(acts.pop(first))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(*acts.values())
    await asyncio.sleep(0)
    main.let.set()
    with pytest.raises(VersionConflict):
        await second
    await begun
    found = await store.get("s")
    assert found is not None
    assert found.owner == first[0]


async def test_an_id_that_could_not_be_held_or_put_is_free_again() -> None:
    """R-MGR-1: also when whoever wanted it was cancelled."""
    main = Gated()
    store = BesideStore(main)
    for begin in (store.hold(record_of("s")), store.put(record_of("s"), expect=0)):
        begun = asyncio.ensure_future(begin)
        await asyncio.sleep(0)
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begun
    main.let.set()
    await store.hold(record_of("s"))
    assert await store.delete("s")
    await store.put(record_of("s"), expect=0)


async def test_a_list_of_a_main_store_that_lists_none_has_nothing_that_is_over() -> None:
    """R-MGR-6."""

    class Plain:
        """The six methods of a store, and nothing else."""

        def __init__(self, inner: MemoryStore) -> None:
            self.get, self.put, self.delete = inner.get, inner.put, inner.delete
            self.touch, self.scan, self.expire = inner.touch, inner.scan, inner.expire

    store = BesideStore(Plain(MemoryStore()))
    for name, timeout in (("over", 1.0), ("there", 10.0)):
        await store.put(record_of(name, timeout=timeout), expect=0)
    assert (await store.list_ids(NOW + 1)).ids == ["there"]
