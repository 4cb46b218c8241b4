"""How an ordered store makes few writes of many acts, what it keeps in memory, and what its journal leaves."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Corrupt, MemoryStore, Misused, Moved, Unavailable, VersionConflict
from holdfast.model.session import Record
from holdfast.stores.contract import Batch, Entry, JournalBounds, Kind, Query
from holdfast.stores.ordered import OrderedStore
from holdfast.stores.ordered_keys import after, due_key, float_key, number_in, number_value
from holdfast.stores.ordered_recent import Recent
from holdfast.stores.ordered_trim import OrderedTrim
from holdfast.testing.records import NOW, entry_of, record_of

from ..kit import eventually_async


class Table:
    """An engine in memory that notes its writes, and whose writes fail when they shall."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.syncs: list[bool] = []
        self.reads = 0
        self.broken = False

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return self.rows.get(key)

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        if self.broken:
            raise Unavailable("the disk is full")
        self.syncs.append(sync)
        for key, value in changes.items():
            self.rows.pop(key, None)
            if value is not None:
                self.rows[key] = value

    def iterate(self, start: bytes, stop: bytes, limit: int, *, reverse: bool = False) -> Sequence[tuple[bytes, bytes]]:
        keys = sorted((key for key in self.rows if start <= key < stop), reverse=reverse)
        return [(key, self.rows[key]) for key in keys[:limit]]

    def moment(self) -> Table:
        then = Table()
        then.rows = dict(self.rows)
        return then

    def close(self) -> None:
        if self.broken:
            raise Unavailable("the disk is full")


@asynccontextmanager
async def opened(table: Table, path: Path) -> AsyncIterator[OrderedStore]:
    async with OrderedStore.open("table", lambda: lambda _: table, path / "table") as store:
        yield store


async def test_acts_that_wait_together_are_one_write_synced_if_one_is_durable(tmp_path: Path) -> None:
    """R-PER-5."""
    table = Table()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("first"), expect=0)
        for durable in (False, True):
            table.syncs.clear()
            puts = [store.put(record_of(f"{durable}{at}"), expect=0, durable=durable and at == 7) for at in range(20)]
            await asyncio.gather(*puts)
            # The thread may have begun before the last was submitted.
            assert len(table.syncs) <= 3
            assert any(table.syncs) is durable


async def test_a_write_that_fails_is_told_to_all_in_it_and_changes_nothing(tmp_path: Path) -> None:
    """R-STO-2."""
    table = Table()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        table.broken = True
        acts = (store.put(record_of("s", version=2), expect=1), store.put(record_of("t"), expect=0), store.delete("s"))
        outcomes = await asyncio.gather(*acts, store.next_term(), return_exceptions=True)
        assert [type(each) for each in outcomes] == [Unavailable] * 4
        assert [type(each) for each in await store.append([Batch("s", 1, [entry_of("a", 0)])])] == [Unavailable]
        assert (await store.info()).health == "the disk is full"
        table.broken = False
        assert await store.get("s") == record_of("s")
        assert await store.get("t") is None
        assert await store.next_term() == 1
        assert (await store.info()).health == "ok"


async def test_an_act_that_is_refused_keeps_those_beside_it(tmp_path: Path) -> None:
    """R-STO-2: also one that has written half of what it would."""
    async with opened(Table(), tmp_path) as store:
        await store.put(record_of("s", term=1), expect=0)
        long = entry_of("x" * 70_000, 0)
        batches = [Batch("s", 1, [entry_of("a", 0), long]), Batch("s", 1, [entry_of("b", 0)]), Batch("s", 0, [long])]
        outcomes = await store.append(batches)
        assert [type(each) for each in outcomes] == [Misused, type(None), Moved]
        assert await store.read("s", "a", after=(0, -1)) == []
        assert await store.read("s", "b", after=(0, -1)) == [entry_of("b", 0)]
        too_many = [entry_of("c", at) for at in range(1025)]
        assert [type(each) for each in await store.append([Batch("s", 1, too_many), Batch("s", 1, [])])] == [
            Misused,
            type(None),
        ]


async def test_what_was_used_last_is_read_from_memory(tmp_path: Path) -> None:
    """R-PER-5: and is right after every kind of write."""
    table = Table()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        await store.put(record_of("s", version=2, owner="ada"), expect=1)
        reads = table.reads
        assert await store.get("s") == record_of("s", version=2, owner="ada")
        assert table.reads == reads
        await store.touch("s", NOW + 5)
        assert await store.count(NOW) == {"active": 1, "terminated": 0}  # accesses are written before
        assert await store.count(NOW) == {"active": 1, "terminated": 0}
        for _ in range(2):
            found = await store.get("s")
            assert found is not None
            assert found.last_accessed == NOW + 5
        await store.put(record_of("s", version=3, last_accessed=NOW + 1), expect=2)
        assert (await store.get("s")) == record_of("s", version=3, last_accessed=NOW + 5)
        with pytest.raises(VersionConflict):
            await store.put(record_of("s", version=3, owner="stale"), expect=2)
        assert (await store.get("s")) == record_of("s", version=3, last_accessed=NOW + 5)
        await store.delete("s")
        assert await store.get("s") is None


def test_a_record_read_before_a_write_is_not_kept_after_it() -> None:
    """R-STO-1: whenever the write comes."""
    old, new = record_of("s"), record_of("s", version=2)
    recent = Recent()
    mark = recent.begin_read("s")
    recent.begin_write(["s"])
    recent.end_read("s", mark, old)
    assert recent.find("s") is None
    during = recent.begin_read("s")
    recent.end_write({"s": new})
    recent.end_read("s", during, old)
    assert recent.find("s") == new
    recent.begin_write(["s"])
    assert recent.find("s") is None
    recent.end_write({})
    recent.end_read("s", recent.begin_read("s"), new)
    assert recent.find("s") == new
    recent.end_read("t", recent.begin_read("t"), None)
    assert recent.find("t") is None
    recent.close()
    recent.end_write({"s": new})
    assert recent.find("s") is None


def test_records_in_memory_are_bounded_and_the_first_go_first() -> None:
    """R-PER-5."""
    recent = Recent(bytes_max=10_000)
    records = {str(at): record_of(str(at), metadata=b"x" * 1000) for at in range(20)}
    for name, record in records.items():
        recent.begin_write([name])
        recent.end_write({name: record})
    assert [name for name in records if recent.find(name)] == [str(at) for at in range(15, 20)]


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_float_keys_sort_as_floats(one: float, other: float) -> None:
    """R-STO-1."""
    assert (float_key(one) < float_key(other)) == (one < other)
    assert (float_key(one) == float_key(other)) == (one == other)


@given(st.binary(max_size=4).map(b"k".__add__), st.binary(max_size=8))
def test_the_key_behind_a_prefix_is_behind_all_that_begin_with_it(prefix: bytes, rest: bytes) -> None:
    """R-STO-1."""
    assert prefix + rest < after(prefix)
    assert after(prefix) <= prefix or not after(prefix).startswith(prefix)


def test_a_damaged_counter_is_told() -> None:
    """R-CLU-2: a term that was given out must not be given out again."""
    assert number_in(number_value(7)) == 7
    for value in (b"", number_value(7)[:-1], bytes([1]) + number_value(7)[1:]):
        with pytest.raises(Corrupt):
            number_in(value)


NAMES = st.sampled_from(["a", "b"])
ENTRIES = st.builds(
    entry_of,
    st.sampled_from(["x", "y"]),
    st.integers(0, 5),
    st.sampled_from(Kind),
    data=st.binary(max_size=20),
    at=st.sampled_from([NOW, NOW + 1]),
    origin=st.integers(0, 3),
)
Step = tuple[str, list[Entry] | None]
BOUNDS = st.builds(
    JournalBounds,
    session_entries_max=st.integers(0, 4),
    session_bytes_max=st.integers(0, 60),
    total_bytes_max=st.integers(0, 80),
    age_s_max=st.sampled_from([1.0, 2.0]),
)
ACTS = st.lists(st.tuples(NAMES, st.lists(ENTRIES, max_size=4) | st.none()) | BOUNDS, max_size=12)


@settings(max_examples=60)
@given(ACTS, BOUNDS)
async def test_the_counters_say_what_is_there(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, list[Entry] | None] | JournalBounds],
    last: JournalBounds,
) -> None:
    """R-STO-1: whatever is appended, again too, deleted and trimmed; and nothing is left of what is gone."""
    table = Table()
    async with opened(table, tmp_path_factory.mktemp("trim")) as store:
        for step in steps:
            if isinstance(step, JournalBounds):
                await store.trim(step, NOW + 2)
            elif step[1] is None:
                await store.delete(step[0])
            else:
                if await store.get(step[0]) is None:
                    await store.put(record_of(step[0]), expect=0)
                await store.append([Batch(step[0], 1, step[1])])
            await store.trim(JournalBounds(age_s_max=1e9), NOW)  # clears deleted sessions away, and trims nothing
            assert_consistent(table)
        await store.trim(last, NOW + 2)
        assert_consistent(table)
        for name in ("a", "b"):
            messages = [entry for entry in await entries_of(store, name) if entry.kind == Kind.MESSAGE]
            assert len(messages) <= last.session_entries_max
            assert sum(len(entry.data) for entry in messages) <= last.session_bytes_max
            await store.delete(name)
        await store.trim(last, NOW)
        assert {key[:1] for key in table.rows} <= {b"n", b"y", b"h", b"p", b"c"}, "the feed is trimmed on its own"


async def entries_of(store: OrderedStore, name: str) -> list[Entry]:
    return [entry for stream in ("x", "y") for entry in await store.read(name, stream, after=(0, -1))]


def assert_consistent(table: Table) -> None:
    """Check that every entry is led to, nothing leads to nothing, and the counters count what is there."""
    kinds: dict[bytes, list[bytes]] = {}
    for key in table.rows:
        kinds.setdefault(key[:1], []).append(key)
    entries = set(kinds.get(b"j", []))
    led_to = [table.rows[key][41:] for kind in (b"a", b"b") for key in kinds.get(kind, [])]
    assert sorted(led_to) == sorted(entries)
    messages = [table.rows[key] for key in kinds.get(b"a", [])]
    assert sorted(table.rows[key] for key in kinds.get(b"m", [])) == sorted(messages)
    sizes = [int.from_bytes(value[16:24], "big") for value in messages]
    assert number_in(table.rows.get(b"y")) == sum(sizes)
    counted = [table.rows[key] for key in kinds.get(b"z", [])]
    assert sum(int.from_bytes(value[:8], "big") for value in counted) == len(messages)
    assert sum(int.from_bytes(value[8:], "big") for value in counted) == sum(sizes)
    origins = sum(
        int.from_bytes(table.rows[key][25:33], "big") > 0 for kind in (b"a", b"b") for key in kinds.get(kind, [])
    )
    assert len(kinds.get(b"g", [])) == origins


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, st.lists(ENTRIES, max_size=4) | st.none()), max_size=10))
async def test_its_journal_says_what_the_one_in_memory_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    """R-STO-1."""
    memory = MemoryStore()
    async with opened(Table(), tmp_path_factory.mktemp("journal")) as store:
        for name, entries in steps:
            for each in (memory, store):
                if entries is None:
                    await each.delete(name)
                else:
                    if await each.get(name) is None:
                        await each.put(record_of(name), expect=0)
                    await each.append([Batch(name, 1, entries)])
        for name in ("a", "b"):
            kept = await entries_of(store, name)
            assert kept == [entry for stream in ("x", "y") for entry in await memory.read(name, stream, after=(0, -1))]
            assert await store.origins(name, 0, 9) == await memory.origins(name, 0, 9)
            of_kind = [{entry.stream for entry in kept if entry.kind == kind} for kind in Kind]
            last = {entry.stream: entry.seq for entry in kept}
            unfinished = {each.opening.stream: each.last_seq for each in await store.unfinished(name)}
            assert unfinished == {name: last[name] for name in of_kind[Kind.OPENING] - of_kind[Kind.FINAL]}


@pytest.mark.parametrize(
    ("bounds", "now"),
    [
        (JournalBounds(session_entries_max=0), NOW),
        (JournalBounds(total_bytes_max=0, session_bytes_max=2**30), NOW),
        (JournalBounds(age_s_max=1.0), NOW + 2),
    ],
    ids=["session", "total", "age"],
)
async def test_a_trim_that_is_cut_short_has_done_its_bounded_steps(
    tmp_path: Path, bounds: JournalBounds, now: float
) -> None:
    """R-STO-2."""
    table = Table()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        large = [entry_of("large", seq, data=b"x" * 2**20) for seq in range(20)]
        small = [entry_of("small", seq) for seq in range(1500)]
        await store.append([Batch("s", 1, part) for part in (large, small[:1000], small[1000:])])
        assert await steps_of(store, table, bounds, now, fails_after=2) == [8, 8]
        assert await steps_of(store, table, bounds, now) == [1000, 504]
        assert_consistent(table)


async def steps_of(
    store: OrderedStore, table: Table, bounds: JournalBounds, now: float, fails_after: int = 99
) -> list[int]:
    """Return how many entries each step of a trim took away, until it fails."""
    steps: list[int] = []

    async def run(step: object) -> int:
        if len(steps) == fails_after:
            raise Unavailable("the test's step fails")
        gone = await store._run(step)  # type: ignore[arg-type]  # it is what a trim wants done
        if gone:
            steps.append(gone)
        return gone

    try:
        await OrderedTrim(table, run).trim(bounds, now)
    except Unavailable:
        assert fails_after < 99
    return steps


async def test_records_of_many_states_are_counted_in_pages(tmp_path: Path) -> None:
    """R-MGR-11."""
    async with opened(Table(), tmp_path) as store:
        records: list[Record] = [record_of(f"{at}", state="terminated" if at % 3 else "active") for at in range(6000)]
        for start in range(0, 6000, 1000):
            await asyncio.gather(
                *(store.put(record, expect=0, durable=False) for record in records[start : start + 1000])
            )
        assert await store.count(NOW) == {"active": 2000, "terminated": 4000}
        assert await store.count(NOW + 60) == {"active": 0, "terminated": 0}


async def test_a_scan_with_a_prefix_reads_what_begins_with_it(tmp_path: Path) -> None:
    """R-MGR-6: all begins with nothing, and nothing with what no id can begin with."""
    async with opened(Table(), tmp_path) as store:
        for name in ("a", "ab", "abc", "b", "é"):
            await store.put(record_of(name), expect=0)
        for prefix, expected in [
            ("", ["a", "ab", "abc", "b", "é"]),
            ("ab", ["ab", "abc"]),
            ("é", ["é"]),
            ("\ud800", []),
        ]:
            assert [each.id for each in (await store.scan(Query(prefix=prefix))).records] == expected
        first = await store.scan(Query(prefix="ab"), limit=1)
        assert [each.id for each in (await store.scan(Query(prefix="ab"), cursor=first.cursor)).records] == ["abc"]
        for cursor in (first.cursors[0] + "d", "00000000.ab", "nonsense", first.cursors[0].upper() + ".", "0.\ud800"):
            with pytest.raises(Misused):
                await store.scan(Query(), cursor=cursor)


async def test_who_is_deleted_while_many_accesses_are_written_stops_nobody(tmp_path: Path) -> None:
    """R-STO-5."""
    async with opened(Table(), tmp_path) as store:
        for name in ("gone", "kept"):
            await store.put(record_of(name, timeout=5.0), expect=0)
        for name in ("gone", *map(str, range(1100)), "kept"):
            await store.touch(name, NOW + 3)
        deleted, counts = await asyncio.gather(store.delete("gone"), store.count(NOW + 6))
        assert deleted
        assert counts == {"active": 1, "terminated": 0}


async def test_a_store_that_cannot_be_closed_in_order_lets_the_folder_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-MGR-15."""
    table = Table()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 1)
        table.broken = True
    told = [each.getMessage() for each in caplog.records]
    assert told == [
        "the last accesses could not be written: the disk is full",
        "the database could not be closed in order: the disk is full",
    ]
    async with opened(table, tmp_path) as store:
        assert await store.get("s") == record_of("s")
        table.broken = False


async def test_what_leads_to_nothing_when_it_is_due_is_taken_away(tmp_path: Path) -> None:
    """R-MGR-5: what damage left behind; it hides nothing behind it."""
    table = Table()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        await store.put(record_of("never", timeout=None), expect=0)
        for deadline, id_bytes in ((NOW - 9, b"gone"), (NOW - 8, b"never"), (NOW - 7, b"s"), (NOW - 6, b"\xff")):
            table.rows[due_key(deadline, id_bytes)] = b""
        found = [await store.expire(NOW + 60, limit=2) for _ in range(2)]
        assert [record.id for records in found for record in records] == ["s"]
        assert [key for key in table.rows if key.startswith(b"d")] == []
        assert await store.get("never") is not None


async def test_what_goes_wrong_in_an_act_is_told_to_its_caller_only(tmp_path: Path) -> None:
    """R-STO-2: also what nobody thought of."""
    async with opened(Table(), tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        wrong = Entry("a", 1, 0, Kind.MESSAGE, NOW, origin=-1)
        outcomes = await store.append([Batch("s", 1, [wrong]), Batch("s", 1, [entry_of("a", 0)])])
        assert [type(each) for each in outcomes] == [Unavailable, type(None)]
        assert await store.read("s", "a", after=(0, -1)) == [entry_of("a", 0)]


@pytest.mark.slow
async def test_accesses_and_what_is_deleted_are_seen_to_within_seconds(tmp_path: Path) -> None:
    """R-STO-5."""
    table = Table()
    async with opened(table, tmp_path) as store:
        for name in ("s", "t"):
            await store.put(record_of(name), expect=0)
        await store.append([Batch("t", 1, [entry_of("a", at) for at in range(10)])])
        await store.delete("t")
        await store.touch("s", NOW + 5, within_s=0.5)
        await eventually_async(lambda: due_key(NOW + 65, b"s") in table.rows)
        await eventually_async(lambda: not any(key[:1] in b"jmax" for key in table.rows))


class Slow(Table):
    """An engine that, once it shall, answers and closes only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.wait = False
        self.let = threading.Event()
        self.is_closed = threading.Event()

    def get(self, key: bytes) -> bytes | None:
        if self.wait:
            self.let.wait(60)
        return super().get(key)

    def close(self) -> None:
        self.let.wait(60)
        self.is_closed.set()


@pytest.mark.slow
@pytest.mark.parametrize("reading", [False, True])
async def test_a_store_whose_disk_takes_too_long_is_closed_when_it_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reading: bool
) -> None:
    """R-MGR-15: whoever closes it waits 5 s, and is not told of an error that nobody could do anything about."""
    table = Slow()
    loop = asyncio.get_running_loop()
    async with opened(table, tmp_path) as store:
        await store.put(record_of("s"), expect=0)
        table.wait = True
        late = asyncio.ensure_future(store.get("other")) if reading else None
        await asyncio.sleep(0)
        began = loop.time()
    assert loop.time() - began < 6
    assert "is not closed after 5 s" in caplog.text
    with pytest.raises(Unavailable, match="open already"):
        async with opened(Table(), tmp_path):
            pass
    if late is not None:
        with pytest.raises(Unavailable):
            await late
    table.let.set()
    assert await asyncio.to_thread(table.is_closed.wait, 60)
    await eventually_async(lambda: names_held(tmp_path / "table") == 0)


def names_held(folder: Path) -> int:
    """Return how many descriptors of this process are of files in a folder."""
    return sum(os.path.realpath(link).startswith(f"{folder}/") for link in Path("/proc/self/fd").iterdir())


class Failing(Table):
    """An engine in which one value cannot be read any more once it was read."""

    failing = b""

    def get(self, key: bytes) -> bytes | None:
        value = super().get(key)
        if key == self.failing:
            self.rows[key] = b""
        return value


async def test_what_a_sweep_deleted_is_returned_though_another_of_it_failed(tmp_path: Path) -> None:
    """R-MGR-7: it is told by this call or never; the one that failed stays, and keeps nothing back."""
    table = Failing()
    async with opened(table, tmp_path) as store:
        for name in ("a", "fails", "z"):
            await store.put(record_of(name, timeout=1.0), expect=0)
        table.failing = b"sfails"
        assert [record.id for record in await store.expire(NOW + 1)] == ["a", "z"]
        assert await store.expire(NOW + 1) == []
