"""What one worker has said is kept until it is acknowledged, in order, within bounds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from holdfast_keeper.backlog import FRAME_COST, Backlog
from holdfast_keeper.room import Room

SMALL = 2 * FRAME_COST + 10  # holds two frames of a few bytes, not three


def backlog(path: Path, **bounds: int) -> tuple[Backlog, Room]:
    room = Room(**bounds)
    return Backlog(room, str(path / "spill")), room


def frames(begin: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(begin, end)]


def sent(kept: Backlog, bytes_max: int = 2**20) -> list[bytes]:
    """Send what waits."""
    found: list[bytes] = []
    while not kept.caught_up:
        found += [frame for _, frame in kept.unsent(bytes_max)]
    return found


def test_numbers_begin_anywhere_and_grow_by_one(tmp_path: Path) -> None:
    kept, room = backlog(tmp_path)
    first = kept.add([b"a", b"b"])
    assert 0 < first < 2**62
    assert kept.add([b"c"]) == first + 2
    kept.keep([b"d"])
    assert kept.unsent(100) == [(first + 3, b"d")]
    assert Backlog(room, "").add([b"a"]) != first


def test_what_was_added_is_sent_again_until_it_is_done(tmp_path: Path) -> None:
    """R-KEE-2"""
    kept, _ = backlog(tmp_path)
    first = kept.add(frames(0, 5))
    assert kept.caught_up
    kept.done(first + 1)
    for _ in range(2):
        kept.rewind()
        assert not kept.caught_up
        assert kept.unsent(100) == [(first, b"0"), (first + 2, b"2"), (first + 3, b"3"), (first + 4, b"4")]
        assert kept.caught_up
    assert (kept.first, kept.last) == (first, first + 4)


def test_what_is_done_takes_no_room_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    kept, room = backlog(tmp_path)
    first = kept.add([b"a"])
    for number in (first, first, first + 1, 0):
        kept.done(number)
    assert (kept.first, kept.last, kept.size_bytes, room.memory_bytes) == (0, 0, 0, 0)
    kept.rewind()
    assert kept.caught_up
    assert kept.add([b"b"]) == first + 1


def test_what_is_done_before_it_was_sent_again_is_not_sent(tmp_path: Path) -> None:
    kept, room = backlog(tmp_path)
    first = kept.add(frames(0, 4))
    kept.rewind()
    kept.done(first + 2)
    kept.done(first)
    assert sent(kept) == [b"1", b"3"]
    kept.rewind()
    kept.done(first + 3)
    kept.done(first + 1)
    assert kept.caught_up
    assert kept.unsent(100) == []
    assert kept.size_bytes == room.memory_bytes == 0


@pytest.mark.parametrize("bytes_max", [1, 3, 1000])
def test_frames_are_sent_up_to_a_bound_or_one(tmp_path: Path, bytes_max: int) -> None:
    kept, _ = backlog(tmp_path)
    kept.keep([b"ab", b"c", b"d" * 10])
    batches = []
    while batch := [frame for _, frame in kept.unsent(bytes_max)]:
        batches.append(batch)
    assert batches == {1: [[b"ab"], [b"c"], [b"d" * 10]], 3: [[b"ab", b"c"], [b"d" * 10]]}.get(
        bytes_max, [[b"ab", b"c", b"d" * 10]]
    )


@pytest.mark.parametrize("bytes_max", [1, 2**20])
def test_over_the_bound_of_one_frames_go_to_disk_and_come_back_in_order(tmp_path: Path, bytes_max: int) -> None:
    """R-KEE-2"""
    kept, room = backlog(tmp_path, own_memory_bytes_max=SMALL)
    first = kept.add([b"0"])
    kept.rewind()
    for number in range(1, 10):
        kept.keep([b"%d" % number])
    assert room.memory_bytes <= SMALL
    assert kept.spilled_bytes == room.disk_bytes == (tmp_path / "spill").stat().st_size
    assert (kept.first, kept.last, kept.full) == (first, first + 9, False)
    assert sent(kept, bytes_max) == frames(0, 10)
    assert not (tmp_path / "spill").exists()
    assert kept.spilled_bytes == room.disk_bytes == room.memory_bytes == 0
    kept.rewind()
    kept.keep([b"10"])
    assert sent(kept, bytes_max) == frames(0, 11)


def test_over_the_bound_of_all_even_the_first_frame_of_another_goes_to_disk(tmp_path: Path) -> None:
    room = Room(memory_bytes_max=SMALL)
    one, two = Backlog(room, str(tmp_path / "one")), Backlog(room, str(tmp_path / "two"))
    one.keep(frames(0, 2))
    two.keep(frames(0, 2))
    assert not (tmp_path / "one").exists()
    assert two.spilled_bytes == room.disk_bytes > 0
    one.close()
    assert room.memory_bytes == 0
    assert sent(two) == frames(0, 2)


def test_two_bounds_of_the_disk_make_a_worker_full_until_its_frames_are_sent(tmp_path: Path) -> None:
    for bound in ({"own_disk_bytes_max": 30}, {"disk_bytes_max": 30}):
        kept, room = backlog(tmp_path, own_memory_bytes_max=SMALL, **bound)
        kept.keep(frames(0, 4))
        assert not kept.full
        kept.keep(frames(4, 6))
        assert kept.full
        assert room.disk_bytes == kept.spilled_bytes <= 30
        kept.keep(frames(6, 7))
        assert sent(kept) == frames(0, 7)
        assert not kept.full
        kept.rewind()
        assert sent(kept) == frames(0, 7)


def test_a_disk_that_refuses_keeps_frames_in_memory_and_is_asked_again(tmp_path: Path) -> None:
    place = tmp_path / "later"
    kept, _ = backlog(place, own_memory_bytes_max=SMALL)
    kept.keep(frames(0, 4))
    assert kept.full
    place.mkdir()
    kept.keep([])
    assert not kept.full
    assert kept.spilled_bytes == (place / "spill").stat().st_size
    kept.keep(frames(4, 5))
    assert sent(kept) == frames(0, 5)


def test_memory_that_others_gave_back_changes_no_order(tmp_path: Path) -> None:
    room = Room(memory_bytes_max=SMALL)
    kept, other = Backlog(room, str(tmp_path / "gone" / "spill")), Backlog(room, str(tmp_path / "other"))
    other.keep(frames(0, 2))
    kept.keep(frames(0, 1))
    assert kept.full
    other.close()
    kept.keep(frames(1, 2))
    assert sent(kept) == frames(0, 2)


def test_a_disk_that_refuses_between_spilled_frames_changes_no_order(tmp_path: Path) -> None:
    kept, _ = backlog(tmp_path, own_memory_bytes_max=SMALL)
    first = kept.add([b"0"])
    kept.rewind()
    kept.keep(frames(1, 4))
    (tmp_path / "spill").rename(tmp_path / "aside")
    kept.keep(frames(4, 6))
    (tmp_path / "aside").rename(tmp_path / "spill")
    assert kept.full
    kept.done(first + 5)
    kept.rewind()
    assert (kept.first, kept.last) == (first, first + 5)
    assert [frame for _, frame in kept.unsent(2)] == frames(0, 2)
    kept.rewind()
    assert sent(kept) == frames(0, 6)


def test_what_cannot_be_read_back_is_counted_and_its_numbers_are_skipped(tmp_path: Path) -> None:
    kept, room = backlog(tmp_path, own_memory_bytes_max=SMALL)
    kept.keep(frames(0, 5))
    (tmp_path / "spill").unlink()
    kept.keep(frames(5, 6))
    first = kept.first
    assert kept.unsent(100) == [(first, b"0"), (first + 1, b"1"), (first + 5, b"5")]
    assert (kept.lost, kept.caught_up, kept.full, room.disk_bytes) == (3, True, False, 0)


def test_one_frame_over_every_bound_is_kept_and_nothing_more_is_read(tmp_path: Path) -> None:
    kept, room = backlog(tmp_path, own_memory_bytes_max=SMALL, own_disk_bytes_max=1000)
    kept.keep([b"x" * 2000])
    assert kept.full
    assert sent(kept) == [b"x" * 2000]
    assert not kept.full
    assert room.memory_bytes == 0


def test_a_frame_larger_than_what_is_read_at_once_comes_back_whole(tmp_path: Path) -> None:
    kept, _ = backlog(tmp_path, own_memory_bytes_max=SMALL)
    large = b"x" * 200_000
    kept.keep([b"1", large, b"2", large])
    assert not kept.full
    assert sent(kept, 65_536) == [b"1", large, b"2", large]


def test_a_server_that_acknowledges_nothing_makes_a_worker_full(tmp_path: Path) -> None:
    kept, _ = backlog(tmp_path, sent_bytes_max=SMALL)
    first = kept.add(frames(0, 2))
    assert not kept.full
    kept.add(frames(2, 3))
    assert kept.full
    kept.done(first)
    assert not kept.full


def test_servers_that_take_everything_and_crash_do_not_bring_the_spill_to_memory(tmp_path: Path) -> None:
    kept, _ = backlog(tmp_path, own_memory_bytes_max=SMALL, sent_bytes_max=SMALL)
    kept.keep(frames(0, 9))
    for _ in range(2):
        for expected in frames(0, 3):
            assert [frame for _, frame in kept.unsent(1)] == [expected]
        assert kept.unsent(1) == []
        assert not kept.caught_up
        kept.rewind()
    first = kept.first
    for number in range(9):
        assert [frame for _, frame in kept.unsent(1)] == [b"%d" % number]
        kept.done(first + number)
    assert kept.caught_up


def test_closing_gives_everything_back(tmp_path: Path) -> None:
    kept, room = backlog(tmp_path, own_memory_bytes_max=SMALL)
    kept.add(frames(0, 1))
    kept.keep(frames(1, 5))
    kept.close()
    assert (room.memory_bytes, room.disk_bytes, kept.size_bytes, kept.spilled_bytes) == (0, 0, 0, 0)
    assert not list(tmp_path.iterdir())


def test_an_idle_one_takes_less_than_300_bytes_before_use_and_after(tmp_path: Path) -> None:
    path = str(tmp_path / "spill")
    kept = Backlog(Room(), path)

    def size_bytes() -> int:
        own = [getattr(kept, name) for name in Backlog.__slots__ if name not in ("_room", "_path")]
        return sys.getsizeof(kept) + sum(sys.getsizeof(value) for value in own if value is not None)

    assert size_bytes() < 300
    first = kept.add(frames(0, 100))
    for number in range(first, first + 100):
        kept.done(number)
    kept.keep(frames(0, 100))
    for number, _ in kept.unsent(2**20):
        kept.done(number)
    assert size_bytes() < 300
