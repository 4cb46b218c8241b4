"""What only a store in memory can get wrong: deadlines filed by the second, chunks, slices."""

from __future__ import annotations

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
    assert sum(len(slot.entries) for slot in deadlines._slots.values()) < 101 + 100 * 2 + 2 * 17
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
