"""The suite for stores that give everything out, as it was at one moment, and take it in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import pytest

from ..model.errors import Corrupt, Misused
from ..model.session import Record
from ..stores.contract import (
    Dumped,
    DumpedEntry,
    DumpPage,
    Journal,
    JournalBounds,
    Kind,
    OpenStream,
    Query,
    Store,
    append_to,
)
from .records import NOW, entry_of, record_of

START = (0, -1)


class DumpedStore(Store, Journal, Dumped, Protocol):
    """A store that can be dumped and loaded."""


class DumpContract:
    """Every sentence of `stores.contract.Dumped`."""

    async def test_a_dump_holds_everything_once(self, store: DumpedStore) -> None:
        """R-STO-8."""
        records, entries = await _fill(store)
        assert await store.next_term() == 1
        assert await store.next_term() == 2
        pages = await _dump(store)
        assert _records(pages) == records
        dumped = [each for page in pages for each in page.entries]
        in_order = sorted(dumped, key=lambda each: each.number)
        assert len({each.number for each in dumped}) == len(dumped)
        assert [each.entry for each in in_order if each.session_id == "s3"] == entries
        assert all(1 <= each.number <= 2**62 for each in dumped)
        assert {page.term for page in pages} == {2}
        assert [page.damaged for page in pages if page.damaged] == []

    async def test_an_empty_store_is_dumped_too(self, store: DumpedStore) -> None:
        """R-STO-8."""
        term = await store.next_term()
        pages = await _dump(store)
        assert len(pages) > 0
        assert (_records(pages), pages[0].term) == ({}, term)

    async def test_each_record_comes_before_its_entries(self, store: DumpedStore) -> None:
        """R-STO-8."""
        await _fill(store)
        seen: set[str] = set()
        for page in await _dump(store):
            seen |= {record.id for record in page.records}
            assert {each.session_id for each in page.entries} <= seen

    async def test_without_the_journal_there_are_no_entries(self, store: DumpedStore) -> None:
        """R-STO-8."""
        records, _ = await _fill(store)
        pages = await _dump(store, journal=False)
        assert _records(pages) == records
        assert [page.entries for page in pages if page.entries] == []

    async def test_a_dump_is_of_the_moment_it_began(self, store: DumpedStore) -> None:
        """R-STO-8: whatever is created, changed, deleted, appended and trimmed meanwhile."""
        records, entries = await _fill(store)
        async with store.dump() as pages:
            first = await anext(pages)
            await store.delete("s0")
            await store.delete("s2999")
            await store.put(record_of("s2998", version=2, owner="new"), expect=1)
            await store.put(record_of("s1", version=2, owner="new"), expect=1)
            await store.put(record_of("s0", owner="another"), expect=0)
            await store.put(record_of("new"), expect=0)
            await append_to(store, "s3", 1, [entry_of("later", 0)])
            await append_to(store, "s2997", 1, [entry_of("later", 0)])
            await store.trim(JournalBounds(session_entries_max=1), NOW)
            rest = [page async for page in pages]
        assert _records([first, *rest]) == records
        dumped = sorted((each for page in rest for each in page.entries), key=lambda each: each.number)
        assert [each.entry for each in dumped if each.session_id == "s3"] == entries
        assert {each.session_id for each in dumped} == {"s2", "s3"}

    async def test_two_dumps_at_once_do_not_know_each_other(self, store: DumpedStore) -> None:
        """R-STO-8."""
        await store.put(record_of("a"), expect=0)
        async with store.dump() as first:
            await store.put(record_of("b"), expect=0)
            async with store.dump() as second:
                await store.delete("a")
                assert set(_records([page async for page in second])) == {"a", "b"}
            assert set(_records([page async for page in first])) == {"a"}

    async def test_an_access_that_was_told_is_in_the_dump(self, store: DumpedStore) -> None:
        """R-STO-5."""
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 7, within_s=1000.0)
        assert _records(await _dump(store))["s"].last_accessed == NOW + 7

    async def test_what_was_deleted_is_not_in_a_dump(self, store: DumpedStore) -> None:
        """R-STO-8: nor what is left of its journal."""
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", seq) for seq in range(100)])
        await store.delete("s")
        pages = await _dump(store)
        assert (_records(pages), [page.entries for page in pages if page.entries]) == ({}, [])

    async def test_what_is_loaded_is_there_as_it_was(self, store: DumpedStore) -> None:
        """R-STO-8: records, journals in their order, what is open, origins; and terms go on."""
        opening = entry_of("b", 0, Kind.OPENING, request=b"1", origin=7)
        final = entry_of("a", 2, Kind.FINAL)
        long = b"x" * 300  # beside which it is little that a store adds where it seals
        entries = [
            entry_of("a", 0, Kind.OPENING),
            opening,
            entry_of("b", 1, data=long),
            entry_of("a", 1, data=long),
            final,
        ]
        whole = record_of("é", version=3, term=5, timeout=None, max_age=9.5, owner="ada", tags=frozenset("ab"))
        ended = record_of("ended", state="terminated", reason="why")
        numbered = [DumpedEntry("é", 10 + at, entry) for at, entry in enumerate(entries)]
        numbered.append(DumpedEntry("nobody", 40, entry_of("a", 0)))
        pages = [
            DumpPage(term=41, records=[ended, whole]),
            DumpPage(term=41, entries=numbered[3:]),
            DumpPage(term=41, entries=numbered[:3]),
        ]
        await store.load(_paged(pages))
        assert [await store.get("é"), await store.get("ended")] == [whole, ended]
        assert await store.read("é", "b", after=START) == entries[1:3]
        assert await store.unfinished("é") == [OpenStream(opening, 1)]
        assert await store.origins("é", 0, 100) == {7}
        assert await store.next_term() == 42
        assert await store.trim(JournalBounds(session_bytes_max=500), NOW) == 1, "the oldest by number"
        assert [entry.data for entry in await store.read("é", "a", after=START)][1] == long
        await append_to(store, "é", 5, [entry_of("c", 0)])
        await store.put(record_of("é", version=4, term=5, max_age=9.5), expect=3)
        assert [record.id for record in await store.expire(NOW + 9.5)] == ["é"]

    async def test_what_was_dumped_and_loaded_is_dumped_again(self, store: DumpedStore) -> None:
        """R-STO-8."""
        records, entries = await _fill(store)
        pages = await _dump(store)
        cursor: str | None = ""
        while cursor is not None:
            page = await store.scan(Query(), limit=1000)
            for record in page.records:
                await store.delete(record.id)
            cursor = page.cursor
        await store.load(_paged(pages))
        again = await _dump(store)
        assert _records(again) == records
        dumped = sorted((each for page in again for each in page.entries), key=lambda each: each.number)
        assert [each.entry for each in dumped if each.session_id == "s3"] == entries

    async def test_a_store_with_sessions_is_not_loaded(self, store: DumpedStore) -> None:
        """R-STO-8."""
        await store.put(record_of("s"), expect=0)
        with pytest.raises(Misused, match="empty"):
            await store.load(_paged([DumpPage(term=9, records=[record_of("t")])]))
        assert [await store.get("s"), await store.get("t")] == [record_of("s"), None]

    async def test_a_load_that_fails_leaves_nothing(self, store: DumpedStore) -> None:
        """R-STO-8: and the store can be used."""
        term = await store.next_term()
        broken = [
            DumpPage(records=[record_of("s")]),
            DumpPage(term=99, entries=[DumpedEntry("s", 1, entry_of("a", 0))]),
        ]
        with pytest.raises(ZeroDivisionError):
            await store.load(_paged(broken, then=ZeroDivisionError()))
        twice = [DumpPage(records=[record_of("s")]), DumpPage(records=[record_of("t"), record_of("s")])]
        with pytest.raises(Corrupt, match="twice"):
            await store.load(_paged(twice))
        assert _records(await _dump(store)) == {}
        assert await store.next_term() == term + 1
        await store.put(record_of("s"), expect=0)
        assert await store.read("s", "a", after=START) == []
        await append_to(store, "s", 1, [entry_of("a", 0)])


async def _fill(store: DumpedStore) -> tuple[dict[str, Record], list[object]]:
    """Put 3,000 records and two journals; return the records, and the entries of s3 in the order of writing."""
    for at in range(3000):
        await store.put(record_of(f"s{at}", metadata=b"x" * at), expect=0, durable=False)
    entries = [entry_of("ab"[at % 2], at // 2, Kind.OPENING if at < 2 else Kind.MESSAGE) for at in range(600)]
    await append_to(store, "s3", 1, entries[:300])
    await append_to(store, "s2", 1, [entry_of("a", 0)])
    await append_to(store, "s3", 1, entries[300:])
    return {f"s{at}": record_of(f"s{at}", metadata=b"x" * at) for at in range(3000)}, list(entries)


async def _dump(store: DumpedStore, *, journal: bool = True) -> list[DumpPage]:
    async with store.dump(journal=journal) as pages:
        return [page async for page in pages]


def _records(pages: Iterable[DumpPage]) -> dict[str, Record]:
    records = [record for page in pages for record in page.records]
    found = {record.id: record for record in records}
    assert len(found) == len(records), "each comes once"
    return found


async def _paged(pages: Iterable[DumpPage], then: Exception | None = None) -> AsyncIterator[DumpPage]:
    for page in pages:
        yield page
    if then is not None:
        raise then
