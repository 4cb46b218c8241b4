"""Backups again and again: named by the time, some kept, and nothing deleted but what is ours."""

from __future__ import annotations

import asyncio
import fcntl
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Misused, Unavailable
from holdfast.backup import Made, Schedule, back_up
from holdfast.backup.rules import beyond, is_own, name_at
from holdfast.stores import MemoryStore
from holdfast.testing import ManualClock

from ..kit import eventually_async
from .making import fill
from .test_backup import names_in

NOON = 1_795_867_200.0  # 2026-11-28 12:00 UTC


def schedule_in(folder: Path, clock: ManualClock, keep: int = 3) -> Schedule:
    store = MemoryStore()

    async def take(target: Path) -> Made:
        if not await store.get("s0"):
            await fill(store)
        return await back_up(store, target, clock=clock)

    return Schedule(take, folder, keep=keep, clock=clock)


async def test_they_are_named_by_the_time_and_the_newest_stay(tmp_path: Path) -> None:
    """R-STO-8."""
    clock = ManualClock(NOON)
    schedule = schedule_in(tmp_path, clock)
    for _ in range(5):
        await schedule.run()
        clock.advance(3600)
    assert names_in(tmp_path) == [f"holdfast-20261128T{hour}0000Z.hfa" for hour in (14, 15, 16)]


async def test_two_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    schedule = schedule_in(tmp_path, ManualClock(NOON), keep=100)
    for _ in range(12):
        await schedule.run()
    assert len(names_in(tmp_path)) == 12
    schedule = schedule_in(tmp_path, ManualClock(NOON), keep=2)
    await schedule.run()
    assert names_in(tmp_path) == [f"holdfast-20261128T120000Z-{number}.hfa" for number in (11, 12)]


async def test_nothing_is_deleted_but_what_is_named_as_ours(tmp_path: Path) -> None:
    """R-STO-8: nor links, nor folders."""
    others = ["b.hfa", "holdfast-20261128T110000Z.hfa.bak", "holdfast-2026.hfa", "notes.txt", "x.part-12345678"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "holdfast-20261128T090000Z.hfa").mkdir()
    (tmp_path / "holdfast-20261128T080000Z.hfa").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "holdfast-20261128T070000Z.hfa").write_text("an older one")
    await schedule_in(tmp_path, ManualClock(NOON), keep=1).run()
    assert set(names_in(tmp_path)) - set(others) == {
        f"holdfast-20261128T{hour}0000Z.hfa" for hour in ("08", "09", "12")
    }


async def test_the_new_one_stays_when_the_clock_was_set_back(tmp_path: Path) -> None:
    """R-STO-8."""
    for hour in range(13, 16):
        (tmp_path / f"holdfast-20261128T{hour}0000Z.hfa").write_text("of a clock that was ahead")
    await schedule_in(tmp_path, ManualClock(NOON), keep=2).run()
    assert names_in(tmp_path) == ["holdfast-20261128T120000Z.hfa", "holdfast-20261128T150000Z.hfa"]


async def test_when_one_fails_nothing_is_deleted(tmp_path: Path) -> None:
    """R-STO-8: nor when it cannot be read again."""
    clock = ManualClock(NOON)
    await schedule_in(tmp_path, clock).run()
    clock.advance(60)

    async def fails(target: Path) -> Made:
        raise Unavailable("the disk is full")

    async def writes_nonsense(target: Path) -> Made:
        await asyncio.to_thread(target.write_bytes, b"nonsense")
        return await back_up(MemoryStore(), target.with_name("elsewhere"), clock=clock)

    for take, error in ((fails, Unavailable), (writes_nonsense, Misused)):
        with pytest.raises(error):
            await Schedule(take, tmp_path, keep=1, clock=clock).run()
        assert "holdfast-20261128T120000Z.hfa" in names_in(tmp_path)


async def test_what_a_kill_left_half_written_is_taken_away(tmp_path: Path) -> None:
    """R-STO-8: but not what somebody else writes."""
    left, written = (tmp_path / f"holdfast-20261128T110000Z.hfa.part-{number}2345678" for number in (1, 2))
    left.write_text("half")
    written.write_text("half")
    with written.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await schedule_in(tmp_path, ManualClock(NOON)).run()
    assert names_in(tmp_path) == [written.name, "holdfast-20261128T120000Z.hfa"]


async def test_it_goes_on_after_a_failure_and_until_it_is_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-STO-8."""
    clock = ManualClock(NOON)
    store = MemoryStore()
    calls: list[Path] = []

    async def take(target: Path) -> Made:
        calls.append(target)
        if len(calls) == 1:
            raise Unavailable("the disk is full")
        return await back_up(store, target, clock=clock)

    told: list[Made] = []
    schedule = Schedule(take, tmp_path, keep=3, clock=clock, told=told.append)
    with caplog.at_level(logging.ERROR):
        schedule.start(1.0)
        await eventually_async(lambda: len(told) == 1)
        await schedule.stop()
    assert "no backup was made this time: the disk is full" in caplog.text
    assert len(calls) == 2


@pytest.mark.parametrize("keep", [0, -1, 10_001])
def test_a_number_that_keeps_none_is_refused(tmp_path: Path, keep: int) -> None:
    with pytest.raises(Misused, match="from 1 to"):
        schedule_in(tmp_path, ManualClock(NOON), keep)


async def test_what_cannot_be_done_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="no folder"):
        await schedule_in(tmp_path / "none", ManualClock(NOON)).run()
    with pytest.raises(Misused, match="every second at most"):
        schedule_in(tmp_path, ManualClock(NOON)).start(0.5)


@given(
    moments=st.lists(st.integers(0, 2**33), unique=True, min_size=1, max_size=20),
    keep=st.integers(1, 10),
    at=st.integers(0, 19),
)
def test_as_many_stay_as_are_kept_and_they_are_the_newest(moments: list[int], keep: int, at: int) -> None:
    """R-STO-8."""
    names = [f"{name_at(moment)}.hfa" for moment in moments]
    newest = names[at % len(names)]
    gone = beyond([*names, "other"], newest, keep)
    assert all(map(is_own, names))
    assert newest not in gone
    assert len(gone) == max(0, len(names) - keep)
    left = set(names) - set(gone) - {newest}
    assert all(one < other for one in gone for other in left)
