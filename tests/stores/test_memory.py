"""What only a store in memory can get wrong: deadlines filed by the second, chunks, slices."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.stores import MemoryStore
from holdfast.stores.contract import JournalBounds, Kind, Query, append_to
from holdfast.testing.records import NOW, entry_of, record_of
from tests import kit

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "touch", "delete", "expire"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([None, 0.0, 0.5, 1.0, 2.5, 90.0]),
        st.sampled_from([0.0, 0.25, 1.0, 3.0, 100.0]),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(ACTS)
async def test_whatever_is_filed_how_often_it_expires_when_it_is_due(
    acts: list[tuple[str, str, float | None, float]],
) -> None:
    """R-MGR-5."""
    store = MemoryStore()
    now = NOW
    for act, name, timeout, pause_s in acts:
        now += pause_s
        record = await store.get(name)
        if act == "put":
            version = record.version if record else 0
            put = record_of(name, version=version + 1, timeout=timeout, last_accessed=now)
            await store.put(put, expect=version)
        elif act == "touch":
            await store.touch(name, now)
        elif act == "delete":
            await store.delete(name)
        else:
            kept = [each for each in (await store.scan(Query())).records if each.deadline <= now]
            assert sorted(each.id for each in await store.expire(now)) == sorted(each.id for each in kept)


async def test_a_scan_goes_on_where_everything_was_deleted() -> None:
    """R-MGR-6."""
    store = MemoryStore()
    for at in range(6000):
        await store.put(record_of(f"s{at}"), expect=0)
    for at in range(1, 5999):
        await store.delete(f"s{at}")
    found: list[str] = []
    cursor: str | None = None
    for _ in range(100):
        page = await store.scan(Query(), cursor=cursor)
        found += [record.id for record in page.records]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == ["s0", "s5999"]


async def test_what_comes_and_goes_leaves_nothing_behind() -> None:
    """R-PER-3: however long the timeouts are, and whatever stays in between."""
    store = MemoryStore()
    for at in range(20_000):
        await store.put(record_of(f"s{at}", timeout=3600.0 + at), expect=0)
        if at > 100:
            await store.delete(f"s{at - 100}")
    deadlines = store._deadlines
    assert len(store._runs) <= 4
    assert len(deadlines._slots) == len(deadlines._open) == 101
    assert len(deadlines._seconds) <= 2000
    assert sum(len(slot.entries) for slot in deadlines._slots.values()) == 101
    for at in range(2000):
        await store.put(record_of(f"same{at}", timeout=9.0), expect=0)
    for at in range(1900):
        await store.delete(f"same{at}")
    assert sum(len(slot.entries) for slot in deadlines._slots.values()) < 101 + 100 * 2 + 1
    assert len((await store.scan(Query())).records) + len(store._kept) == 402


async def test_a_greatest_age_that_is_brought_nearer_is_kept_to() -> None:
    """R-MGR-3."""
    store = MemoryStore()
    await store.put(record_of("s", timeout=None, max_age=90.0), expect=0)
    await store.put(record_of("s", version=2, timeout=None, max_age=5.0), expect=1)
    assert [record.id for record in await store.expire(NOW + 5)] == ["s"]


async def test_trimming_old_streams_beside_many_messages_lets_the_loop_go_on() -> None:
    """R-PER-5: a stream that goes costs its own entries, not those of its session."""
    for watch in kit.LoopWatch.rounds():
        store = MemoryStore()
        await store.put(record_of("s"), expect=0)
        for at in range(1000):
            await append_to(store, "s", 1, [entry_of(f"a{at}", 0, Kind.OPENING), entry_of(f"a{at}", 1, Kind.FINAL)])
        for at in range(20_000):
            await append_to(store, "s", 1, [entry_of("live", at, at=NOW + 50)])
        with watch:
            assert await store.trim(JournalBounds(session_entries_max=30_000, age_s_max=10.0), NOW + 55) == 2000
        assert len(await store.read("s", "live", after=(0, -1), limit=30_000)) == 20_000


async def test_a_sweep_and_a_scan_let_the_loop_go_on() -> None:
    """R-PER-5."""
    for watch in kit.LoopWatch.rounds():
        store = MemoryStore()
        for at in range(40_000):
            await store.put(record_of(f"s{at}"), expect=0)
            await store.touch(f"s{at}", NOW + (30 if at % 2 else 0))
        with watch:
            cursor: str | None = None
            for _ in range(1000):
                cursor = (await store.scan(Query(owner="nobody"), cursor=cursor)).cursor
                if cursor is None:
                    break
            assert cursor is None
            assert len(await store.expire(NOW + 60, limit=100_000)) == 20_000


async def test_no_deadline_holds_what_is_deleted() -> None:
    """R-PER-3: a timeout may be days, and metadata a megabyte."""
    store = MemoryStore()
    for at in range(3000):  # some alone under their second, some with few, some with many others
        timeout = 9.0 if at % 3 == 0 else 60.0 + (at // 20 if at % 3 == 1 else at)
        await store.put(record_of(f"s{at}", timeout=timeout), expect=0)
    for at in range(3000):
        if at % 8:
            await store.delete(f"s{at}")
    held = [kept for slot in store._deadlines._slots.values() for kept in slot.entries]
    records = [kept.record.id for kept in held if kept.record.id]
    assert sorted(records) == sorted(f"s{at}" for at in range(0, 3000, 8))
    for slot in store._deadlines._slots.values():
        assert len(slot.entries) <= 2 * sum(kept.record.id != "" for kept in slot.entries)
    assert {kept.run.number for kept in held if not kept.record.id} <= {0}
    for at in range(0, 3000, 8):
        await store.delete(f"s{at}")
    assert not store._deadlines._slots


async def test_what_is_counted_is_of_one_moment() -> None:
    """R-MGR-11: however much a sweep deletes between two looks at what is expired."""
    store = MemoryStore()
    for at in range(9000):
        state = "terminated" if at % 3 == 0 else "active"
        await store.put(record_of(f"s{at}", timeout=5.0, state=state), expect=0)
    for at in range(30):
        await store.put(record_of(f"live{at}", state="active" if at % 3 else "terminated"), expect=0)
    counting = asyncio.gather(*(store.count(NOW + 5) for _ in range(20)))
    while await store.expire(NOW + 5, limit=100):
        assert await store.count(NOW + 5) == {"active": 20, "terminated": 10}
        await store.put(record_of("comes"), expect=0)
        assert await store.delete("comes")
    assert await counting == [{"active": 20, "terminated": 10}] * 20


async def test_a_count_for_a_clock_that_is_behind_has_what_others_found_expired() -> None:
    """R-MGR-11."""
    store = MemoryStore()
    for at in range(50):
        await store.put(record_of(f"s{at}", timeout=5.0 + at, state="active" if at % 5 else "terminated"), expect=0)
    assert await store.count(NOW + 1000) == {"active": 0, "terminated": 0}
    assert await store.count(NOW + 29.5) == {"active": 20, "terminated": 5}
    await store.put(record_of("s1", version=2, timeout=5.0, state="terminated"), expect=1)
    await store.delete("s49")
    assert await store.count(NOW + 29.5) == {"active": 19, "terminated": 5}
    assert await store.count(NOW + 1) == {"active": 38, "terminated": 11}


async def test_what_expires_while_another_looks_is_gone_at_once() -> None:
    """R-MGR-3: what is due later in the second that is looked at stays where everybody finds it."""
    store = MemoryStore()
    for at in range(5000):
        await store.put(record_of(f"s{at}", timeout=5.0 if at else 5.6), expect=0)
    looking = asyncio.ensure_future(store.count(NOW + 5.5))
    for _ in range(2):
        await asyncio.sleep(0)
    assert not looking.done()
    assert (await store.list_ids(NOW + 5.6)).ids == []
    await looking
    assert len(await store.expire(NOW + 5.6, limit=5000)) == 5000


async def test_a_look_is_not_cut_short_by_what_comes_with_an_earlier_deadline() -> None:
    """R-MGR-3."""
    store = MemoryStore()
    for at in range(5000):
        await store.put(record_of(f"s{at}", timeout=5.0), expect=0)
    looking = asyncio.ensure_future(store.count(NOW + 5.5))
    await asyncio.sleep(0)
    await store.put(record_of("earlier", timeout=3.0), expect=0)
    assert await looking == {"active": 0, "terminated": 0}


async def test_a_page_of_a_scan_looks_at_a_bounded_number_of_places() -> None:
    """R-PER-5: also where nearly everything is deleted, or everything is asked for."""
    store = MemoryStore()
    for at in range(100_000):
        store.put_now(record_of(f"s{at}"), 0)
    for at in range(100_000):
        if at % 250:
            await store.delete(f"s{at}")
    begun, found, pages = 0, 0, 0
    while pages == 0 or begun:
        page = await store.scan(Query(), cursor=str(begun))
        assert page.cursor is None or int(page.cursor) - begun < 8 * 4000
        begun, found, pages = int(page.cursor or 0), found + len(page.records), pages + 1
    assert (found, pages) == (400, 4)
    listed = await store.list_ids(NOW, limit=10**6)
    assert listed.cursor is not None and int(listed.cursor) < 50_000


async def test_a_sweep_takes_fewer_sessions_at_a_time_when_their_journals_are_long() -> None:
    """R-PER-5: a journal goes with its session, entry by entry."""
    store = MemoryStore()
    for at in range(100):
        await store.put(record_of(f"s{at}", timeout=5.0), expect=0)
        await append_to(store, f"s{at}", 1, [entry_of("x", number) for number in range(400)])
    sizes = []
    while gone := await store.expire(NOW + 5, limit=500):
        sizes.append(len(gone))
    assert sum(sizes) == 100 and max(sizes) <= 10


async def test_a_trim_that_was_cut_short_is_made_up_for_by_the_next() -> None:
    """R-PER-5: only what grew is looked at, but nothing is forgotten."""
    store = MemoryStore()
    for at in range(5000):
        await store.put(record_of(f"s{at}"), expect=0)
        await append_to(store, f"s{at}", 1, [entry_of("x", number) for number in range(2)])
    bounds = JournalBounds(session_entries_max=1)
    trimming = asyncio.ensure_future(store.trim(bounds, NOW))
    for _ in range(4):
        await asyncio.sleep(0)
    trimming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trimming
    assert 0 < await store.trim(bounds, NOW) < 5000
    assert await store.trim(bounds, NOW) == 0
    assert not store._journal._grown
    for at in range(5000):
        assert [entry.seq for entry in await store.read(f"s{at}", "x", after=(0, -1))] == [1]
    await append_to(store, "s7", 1, [entry_of("x", 2)])
    assert await store.trim(bounds, NOW) == 1


async def test_trimming_what_is_old_takes_as_long_for_each_as_for_the_first() -> None:
    """R-PER-5: whatever was removed before, of one stream or of many."""
    for watch in kit.LoopWatch.rounds():
        store = MemoryStore()
        for at in range(40_000):
            store.put_now(record_of(f"s{at}"), 0)
            await append_to(store, f"s{at}", 1, [entry_of("x", 0)])
        await append_to(store, "s0", 1, [entry_of("long", number, at=NOW - 1) for number in range(100_000)])
        with watch:
            assert await store.trim(JournalBounds(session_entries_max=50_000), NOW) == 50_001
            assert await store.trim(JournalBounds(age_s_max=10.0), NOW + 100) == 40_000 - 1 + 50_000
        journal = store._journal
        assert not journal._journals and not journal._streams and not journal._messages.oldest() and not journal._bytes
