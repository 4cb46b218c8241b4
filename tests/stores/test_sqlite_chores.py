"""What a SQLite store does by itself: write accesses, fold its log; and how acts become groups."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.stores.accesses import Accesses
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_acts import ROWS_MAX, Append, Delete, Put, Run, Touch, Write, grouped
from holdfast.testing.records import NOW, entry_of, record_of
from tests import kit


def last_accessed(path: Path) -> float:
    connection = sqlite3.connect(path)
    try:
        (found,) = connection.execute("SELECT last_accessed FROM sessions").fetchone()
    finally:
        connection.close()
    return float(found)


@pytest.mark.slow
async def test_accesses_are_written_within_the_time_told(tmp_path: Path) -> None:
    """R-STO-5."""
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 5, within_s=0.1)
        await kit.eventually_async(lambda: last_accessed(path) == NOW + 5)


async def test_an_access_is_seen_while_it_is_written_and_right_after() -> None:
    """R-STO-5: a read that began before the write may end after it."""
    accesses = Accesses()
    accesses.tell("s", NOW + 5, 0.0)
    accesses.take()
    assert accesses.merged(record_of("s")).last_accessed == NOW + 5
    accesses.tell("s", NOW + 9, 0.0)
    accesses.kept()
    assert accesses.take() == {"s": NOW + 9}
    accesses.forget("s")
    assert accesses.merged(record_of("s")).last_accessed == NOW


@pytest.mark.slow
async def test_the_log_is_folded_into_the_file_while_it_is_open(tmp_path: Path) -> None:
    """R-STO-3."""
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        before = path.stat().st_size
        records = [record_of(f"s{at}", metadata=b"x" * 4000) for at in range(3000)]
        await asyncio.gather(*(store.put(record, expect=0, durable=False) for record in records))
        await kit.eventually_async(lambda: path.stat().st_size > before + 3000 * 4000)
        assert await store.get("s2999") == records[-1]


ACTS = st.lists(st.tuples(st.sampled_from([Put, Delete, Append, Touch, Run]), st.sampled_from("abc")), max_size=30)


def act_of(kind: type[Write], name: str) -> Write:
    if kind is Put:
        return Put(record_of(name), durable=True)
    if kind is Delete:
        return Delete(name, expect=None, due_at=None, durable=True)
    if kind is Append:
        return Append(name, 1, [entry_of("a", 0)] * 300)
    return Touch({name: NOW}) if kind is Touch else Run(lambda _: None, durable=False)


@given(ACTS)
def test_groups_keep_the_order_of_each_session(plan: list[tuple[type[Write], str]]) -> None:
    """R-PER-4."""
    acts = [act_of(kind, name) for kind, name in plan]
    groups = grouped(acts)
    assert sorted(map(id, acts)) == sorted(id(act) for group in groups for act in group)
    for name in "abc":
        mine = [act for act in acts if act.session_id == name]
        assert [act for group in groups for act in group if act.session_id == name] == mine
    for group in groups:
        assert len({type(act) for act in group}) == 1
        assert sum(len(act.rows) for act in group) <= ROWS_MAX
        if not isinstance(group[0], Append):
            assert len({act.session_id for act in group}) == len(group)
    barriers = [act for act in acts if isinstance(act, (Touch, Run))]
    flat = [act for group in groups for act in group]
    for barrier in barriers:
        assert set(map(id, flat[: flat.index(barrier)])) == set(map(id, acts[: acts.index(barrier)]))


def test_what_is_of_one_kind_becomes_one_statement() -> None:
    """R-PER-4."""
    acts = [act_of(kind, name) for name in "abc" for kind in (Put, Append)]
    assert [[type(act) for act in group] for group in grouped(acts)] == [[Put] * 3, [Append] * 3]
