"""How the journal in a SQLite file is trimmed: by counters that are always right, in bounded steps that stay done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Unavailable
from holdfast.stores.contract import Entry, JournalBounds, Kind
from holdfast.stores.sqlite_acts import Append, Delete, Put
from holdfast.stores.sqlite_file import connect, prepare
from holdfast.stores.sqlite_journal import SqliteTrim
from holdfast.stores.sqlite_writer import Writer
from holdfast.testing.records import NOW, entry_of, record_of

NAMES = ("a", "b")
ENTRIES = st.builds(
    entry_of,
    st.sampled_from(["x", "y"]),
    st.integers(0, 5),
    st.sampled_from(Kind),
    data=st.binary(max_size=20),
    at=st.sampled_from([NOW, NOW + 1]),
)
ACTS = st.lists(st.tuples(st.sampled_from(NAMES), st.lists(ENTRIES, max_size=4) | st.none()), max_size=12)
BOUNDS = st.builds(
    JournalBounds,
    session_entries_max=st.integers(0, 4),
    session_bytes_max=st.integers(0, 60),
    total_bytes_max=st.integers(0, 80),
    age_s_max=st.sampled_from([1.0, 2.0]),
)
COUNTED = """
    SELECT session, messages, bytes FROM journal_sizes WHERE messages > 0
    EXCEPT SELECT session, count(*), sum(length(data) + length(request)) FROM journal WHERE kind = 1 GROUP BY session
"""


class File:
    """A file with a writer, driven by hand: what each step deleted, and after how many the next one fails."""

    def __init__(self, path: Path) -> None:
        prepare(path)
        self.connection = connect(path)
        self.writer = Writer(self.connection)
        self.steps: list[int] = []
        self.fails_at = -1

    def append(self, name: str, entries: list[Entry]) -> None:
        act = Append(name, 1, entries)
        self.writer.write([act])
        assert act.error is None

    async def trim(self, bounds: JournalBounds, now: float = NOW) -> int:
        return await SqliteTrim(self._read, self._write).trim(bounds, now)

    async def _read(self, run: Callable[[sqlite3.Connection], Any]) -> Any:
        return run(self.connection)

    async def _write(self, run: Callable[[sqlite3.Connection], int]) -> int:
        if len(self.steps) == self.fails_at:
            raise Unavailable("the test's step fails")
        gone = run(self.connection)
        if gone:
            self.steps.append(gone)
        return gone


@settings(max_examples=60)
@given(ACTS, BOUNDS)
async def test_the_counters_say_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, list[Entry] | None]], bounds: JournalBounds
) -> None:
    """R-STO-1: whatever is appended, again too, deleted and trimmed."""
    file = File(tmp_path_factory.mktemp("trim") / "s.db")
    for name, entries in acts:
        if entries is None:
            file.writer.write([Delete(name, expect=None, due_at=None, durable=False)])
        else:
            file.writer.write([Put(record_of(name), durable=False)])
            if entries:
                file.append(name, entries)
        assert file.connection.execute(COUNTED).fetchall() == []
    await file.trim(bounds, NOW + 2)
    assert file.connection.execute(COUNTED).fetchall() == []
    sizes = file.connection.execute("SELECT messages, bytes FROM journal_sizes").fetchall()
    assert all(each[0] <= bounds.session_entries_max and each[1] <= bounds.session_bytes_max for each in sizes)
    assert sum(each[1] for each in sizes) <= bounds.total_bytes_max
    file.connection.close()


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
    file = File(tmp_path / "s.db")
    file.writer.write([Put(record_of("s"), durable=False)])
    file.append("s", [entry_of("large", seq, data=b"x" * 2**20) for seq in range(20)])
    file.append("s", [entry_of("small", seq) for seq in range(1000)])
    file.append("s", [entry_of("small", seq) for seq in range(1000, 1500)])
    file.fails_at = 2
    with pytest.raises(Unavailable):
        await file.trim(bounds, now)
    assert file.steps == [8, 8]
    file.fails_at = -1
    assert await file.trim(bounds, now) == 1504
    assert file.steps[2:] == [1000, 504]
    file.connection.close()


async def test_what_is_within_its_bounds_costs_no_look_at_the_journal(tmp_path: Path) -> None:
    """R-PER-5: however much is kept."""
    file = File(tmp_path / "s.db")
    for at in range(3):
        file.writer.write([Put(record_of(f"s{at}"), durable=False)])
        file.append(f"s{at}", [entry_of("a", seq) for seq in range(1000)])
    worked = 0

    def count() -> int:
        nonlocal worked
        worked += 1
        return 0

    file.connection.set_progress_handler(count, 10)
    assert await file.trim(JournalBounds()) == 0
    assert 0 < worked < 100  # in tens of SQLite's instructions: a look at 3,000 entries takes thousands
    file.connection.close()
