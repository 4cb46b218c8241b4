"""The suite for stores that keep a journal."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import pytest

from ..model.errors import Moved, NotFound
from ..stores.contract import Batch, Entry, Journal, JournalBounds, Kind, OpenStream, Store, append_to
from .records import NOW, entry_of, record_of

START = (0, -1)


class JournalStore(Store, Journal, Protocol):
    """A store with a journal."""


class JournalContract:
    """Every sentence of `stores.contract.Journal`."""

    async def test_terms_grow_and_never_repeat(self, store: JournalStore) -> None:
        """R-CLU-2."""
        terms = await asyncio.gather(*(store.next_term() for _ in range(10)))
        assert len(set(terms)) == 10
        assert min(terms) >= 1
        assert await store.next_term() > max(terms)

    async def test_entries_come_back_in_order_behind_a_position(self, store: JournalStore) -> None:
        """R-STO-2."""
        await store.put(record_of("s", term=1), expect=0)
        entries = [entry_of("a", seq) for seq in range(3)] + [entry_of("a", seq, term=2) for seq in (3, 4)]
        await append_to(store, "s", 1, entries[:2])
        await append_to(store, "s", 2, entries[2:])
        assert await store.read("s", "a", after=START) == entries
        assert await store.read("s", "a", after=(1, 1)) == entries[2:]
        assert await store.read("s", "a", after=(2, 4)) == []
        assert await store.read("s", "a", after=START, limit=2) == entries[:2]

    async def test_every_field_of_an_entry_comes_back(self, store: JournalStore) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        opening = Entry("é", 7, 0, Kind.OPENING, NOW + 0.1, b"\0\xff", b'"id"', 2**63 - 1)
        await append_to(store, "s", 7, [opening])
        assert await store.read("s", "é", after=START) == [opening]

    async def test_streams_and_sessions_are_apart(self, store: JournalStore) -> None:
        """R-STO-1."""
        for name in ("s", "t"):
            await store.put(record_of(name), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0), entry_of("b", 0, data=b"b")])
        assert [entry.data for entry in await store.read("s", "b", after=START)] == [b"b"]
        assert await store.read("t", "a", after=START) == []
        assert await store.read("nobody", "a", after=START) == []

    async def test_a_lower_term_appends_nothing(self, store: JournalStore) -> None:
        """R-CLU-2."""
        await store.put(record_of("s", term=5), expect=0)
        with pytest.raises(Moved):
            await append_to(store, "s", 4, [entry_of("a", 0), entry_of("a", 1)])
        assert await store.read("s", "a", after=START) == []

    async def test_a_session_that_is_not_there_has_no_journal(self, store: JournalStore) -> None:
        """R-STO-1."""
        with pytest.raises(NotFound):
            await append_to(store, "nobody", 1, [entry_of("a", 0)])

    async def test_a_refused_append_does_not_touch_those_beside_it(self, store: JournalStore) -> None:
        """R-STO-1."""
        for name, term in (("s", 1), ("moved", 9), ("t", 1)):
            await store.put(record_of(name, term=term), expect=0)
        names = ("s", "moved", "nobody", "t")
        outcomes = await store.append([Batch(name, 1, [entry_of("a", 0)]) for name in names])
        assert [type(outcome) for outcome in outcomes] == [type(None), Moved, NotFound, type(None)]
        assert [len(await store.read(name, "a", after=START)) for name in ("s", "moved", "t")] == [1, 0, 1]

    async def test_appending_again_changes_nothing(self, store: JournalStore) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0)])
        await append_to(store, "s", 1, [entry_of("a", 0, data=b"other"), entry_of("a", 1)])
        assert [entry.data for entry in await store.read("s", "a", after=START)] == [b"0", b"1"]

    async def test_a_deleted_session_takes_its_journal_along(self, store: JournalStore) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0, Kind.OPENING, request=b"1")])
        await store.delete("s")
        await store.put(record_of("s"), expect=0)
        assert await store.read("s", "a", after=START) == []
        assert await store.unfinished("s") == []

    async def test_an_expired_session_takes_its_journal_along(self, store: JournalStore) -> None:
        """R-MGR-5."""
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0)])
        await store.expire(NOW + 60)
        await store.put(record_of("s"), expect=0)
        assert await store.read("s", "a", after=START) == []

    async def test_unfinished_are_the_streams_that_no_final_entry_closes(self, store: JournalStore) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        openings = [entry_of(stream, 0, Kind.OPENING, request=b"%d" % at, origin=at) for at, stream in enumerate("zyx")]
        standing = entry_of("get", 0, Kind.OPENING)
        await append_to(store, "s", 1, [*openings, standing, entry_of("z", 1), entry_of("z", 2)])
        await append_to(store, "s", 1, [entry_of("y", 1, Kind.FINAL)])
        expected = [OpenStream(openings[0], 2), OpenStream(openings[2], 0), OpenStream(standing, 0)]
        assert await store.unfinished("s") == expected
        assert await store.unfinished("nobody") == []

    async def test_origins_are_those_of_entries_of_every_kind(self, store: JournalStore) -> None:
        """R-KEE-2: in any order, several of one frame; what has none is not reported."""
        await store.put(record_of("s"), expect=0)
        kinds = [Kind.OPENING, Kind.MESSAGE, Kind.MESSAGE, Kind.MESSAGE, Kind.MESSAGE, Kind.FINAL]
        numbers = [0, 90, 80, 80, 2**63 - 1, 7]
        entries = [entry_of("a", at, kinds[at], origin=number) for at, number in enumerate(numbers)]
        await append_to(store, "s", 1, entries)
        await append_to(store, "s", 1, [entry_of("b", 0, origin=85)])
        assert await store.origins("s", 0, 2**63 - 1) == {7, 80, 85, 90, 2**63 - 1}
        assert await store.origins("s", 80, 90) == {80, 85, 90}
        assert await store.origins("s", 81, 89) == {85}
        assert await store.origins("s", 90, 80) == set()
        assert await store.origins("s", 0, 0) == set()
        assert await store.read("s", "a", after=START) == entries

    async def test_origins_of_another_session_are_not_reported(self, store: JournalStore) -> None:
        """R-KEE-2."""
        for name in ("s", "t"):
            await store.put(record_of(name), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0, origin=1)])
        await append_to(store, "t", 1, [entry_of("a", 0, origin=2)])
        assert await store.origins("s", 1, 10) == {1}
        assert await store.origins("t", 1, 10) == {2}
        assert await store.origins("nobody", 1, 10) == set()
        assert await store.origins("\ud800", 1, 10) == set()

    async def test_what_was_not_written_has_no_origin(self, store: JournalStore) -> None:
        """R-KEE-2: an entry whose place was taken keeps its own, and a refused batch leaves none."""
        await store.put(record_of("s", term=5), expect=0)
        await append_to(store, "s", 5, [entry_of("a", 0, origin=1)])
        await append_to(store, "s", 5, [entry_of("a", 0, origin=2), entry_of("a", 1, origin=3)])
        with pytest.raises(Moved):
            await append_to(store, "s", 4, [entry_of("a", 2, origin=4)])
        assert await store.origins("s", 1, 10) == {1, 3}

    async def test_origins_go_with_the_last_of_their_entries(self, store: JournalStore) -> None:
        """R-KEE-2: trimmed by number, and by age with a whole stream."""
        await store.put(record_of("s"), expect=0)
        numbers = [10, 11, 11, 12]
        await append_to(store, "s", 1, [entry_of("a", at, origin=number) for at, number in enumerate(numbers)])
        ends = [entry_of("b", 0, Kind.OPENING, origin=20), entry_of("b", 1, Kind.FINAL, origin=21)]
        await append_to(store, "s", 1, ends)
        assert await store.trim(JournalBounds(session_entries_max=2), NOW) == 2
        assert await store.origins("s", 1, 99) == {11, 12, 20, 21}
        assert await store.trim(JournalBounds(session_entries_max=1), NOW) == 1
        assert await store.origins("s", 1, 99) == {12, 20, 21}
        assert await store.trim(JournalBounds(age_s_max=100.0), NOW + 101) == 3
        assert await store.origins("s", 1, 99) == set()

    async def test_a_deleted_session_takes_its_origins_along(self, store: JournalStore) -> None:
        """R-KEE-2."""
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0, origin=1)])
        await store.delete("s")
        await store.put(record_of("s"), expect=0)
        assert await store.origins("s", 1, 10) == set()

    async def test_trim_keeps_the_newest_entries_of_a_session(self, store: JournalStore) -> None:
        """R-STO-1."""
        await _write_stream(store, "s", messages=10)
        assert await store.trim(JournalBounds(session_entries_max=5), NOW) == 5
        kept = await store.read("s", "a", after=START)
        assert [(entry.seq, entry.kind) for entry in kept] == [(0, 0), *((seq, 1) for seq in range(6, 11)), (11, 2)]
        assert await store.trim(JournalBounds(session_entries_max=5), NOW) == 0

    async def test_trim_counts_the_bytes_of_a_session_and_spares_the_others(self, store: JournalStore) -> None:
        """R-STO-1."""
        await _write_stream(store, "s", messages=10, data=b"x" * 100)
        await _write_stream(store, "t", messages=2, data=b"x" * 100)
        assert await store.trim(JournalBounds(session_bytes_max=450), NOW) == 6
        assert len(await store.read("t", "a", after=START)) == 4

    async def test_trim_counts_the_bytes_of_all_oldest_first(self, store: JournalStore) -> None:
        """R-STO-1."""
        await _write_stream(store, "old", messages=5, data=b"x" * 100)
        await _write_stream(store, "new", messages=5, data=b"x" * 100)
        assert await store.trim(JournalBounds(total_bytes_max=700), NOW) == 3
        assert len(await store.read("old", "a", after=START)) == 4
        assert len(await store.read("new", "a", after=START)) == 7

    async def test_openings_and_final_entries_push_no_message_out(self, store: JournalStore) -> None:
        """R-STO-1."""
        await _write_stream(store, "s", messages=3, data=b"x" * 100)
        answers = [entry_of(f"b{at}", 1, Kind.FINAL, data=b"x" * 100) for at in range(20)]
        await append_to(store, "s", 1, answers)
        bounds = JournalBounds(session_entries_max=3, session_bytes_max=300, total_bytes_max=300)
        assert await store.trim(bounds, NOW) == 0
        assert len(await store.read("s", "a", after=START)) == 5

    async def test_what_was_appended_twice_or_is_gone_counts_no_more(self, store: JournalStore) -> None:
        """R-STO-1."""
        bounds = JournalBounds(session_entries_max=5, session_bytes_max=500, total_bytes_max=1000)
        for name in ("s", "t", "gone"):
            await _write_stream(store, name, messages=5, data=b"x" * 100)
        await append_to(store, "s", 1, [entry_of("a", seq, data=b"x" * 100) for seq in range(1, 6)])
        await store.delete("gone")
        assert await store.trim(bounds, NOW) == 0
        await append_to(store, "s", 1, [entry_of("b", 1, data=b"x" * 100)])
        assert await store.trim(bounds, NOW) == 1
        assert [entry.seq for entry in await store.read("s", "a", after=START)] == [0, 2, 3, 4, 5, 6]
        assert await store.trim(bounds, NOW) == 0

    async def test_openings_and_final_entries_go_by_age_only_with_their_stream(self, store: JournalStore) -> None:
        """R-STO-1."""
        none = JournalBounds(session_entries_max=0, session_bytes_max=0, total_bytes_max=0, age_s_max=100.0)
        await _write_stream(store, "s", messages=3)
        await append_to(store, "s", 1, [entry_of("live", 0, Kind.OPENING), entry_of("live", 1, at=NOW + 50)])
        await store.trim(none, NOW + 100)
        assert [entry.kind for entry in await store.read("s", "a", after=START)] == [Kind.OPENING, Kind.FINAL]
        await append_to(store, "s", 1, [entry_of("live", 2, at=NOW + 60)])
        assert await store.trim(JournalBounds(age_s_max=100.0), NOW + 101) == 2
        assert await store.read("s", "a", after=START) == []
        assert [entry.seq for entry in await store.read("s", "live", after=START)] == [0, 2]

    async def test_messages_go_by_age(self, store: JournalStore) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        entries = [entry_of("a", seq, at=NOW + seq) for seq in range(6)]
        await append_to(store, "s", 1, entries)
        assert await store.trim(JournalBounds(age_s_max=100.0), NOW + 103) == 3
        assert await store.read("s", "a", after=START) == entries[3:]

    async def test_trim_deletes_more_than_one_step(self, store: JournalStore) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        for start in range(0, 2500, 500):
            await append_to(store, "s", 1, [entry_of("a", seq) for seq in range(start, start + 500)])
        assert await store.trim(JournalBounds(session_entries_max=10), NOW) == 2490
        assert [entry.seq for entry in await store.read("s", "a", after=START)] == list(range(2490, 2500))


async def _write_stream(store: JournalStore, session_id: str, *, messages: int, **fields: Any) -> None:
    await store.put(record_of(session_id), expect=0)
    entries = [entry_of("a", seq, **fields) for seq in range(1, messages + 1)]
    ends = entry_of("a", 0, Kind.OPENING), entry_of("a", messages + 1, Kind.FINAL)
    await append_to(store, session_id, 1, [ends[0], *entries, ends[1]])
