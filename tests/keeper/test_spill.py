"""Frames on disk: nothing torn, nothing mistaken, nothing left behind."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast_keeper.spill import HEAD, Spill, file_bytes_of

FRAMES = [b"one", b"", b"three" * 1000, b"4"]


def spilled(path: Path, frames: list[bytes]) -> Spill:
    spill = Spill(str(path), first=70)
    assert spill.append(frames)
    return spill


def drained(spill: Spill, bytes_max: int = 1000) -> list[bytes]:
    found = []
    while spill.count:
        found += spill.take(bytes_max)
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow over `size`: a disk that is full half way through a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("bytes_max", [1, 20, 100, 10_000])
def test_what_was_written_comes_back_in_order_and_the_file_goes(tmp_path: Path, bytes_max: int) -> None:
    """R-KEE-2"""
    spill = spilled(tmp_path / "spill", FRAMES)
    assert spill.append([b"five"])
    assert spill.unread_bytes == spill.file_bytes == (tmp_path / "spill").stat().st_size
    assert spill.file_bytes == file_bytes_of([*FRAMES, b"five"])
    assert drained(spill, bytes_max) == [*FRAMES, b"five"]
    assert not (tmp_path / "spill").exists()
    assert (spill.first, spill.unread_bytes) == (75, 0)


def test_more_is_written_while_the_rest_waits_to_be_read(tmp_path: Path) -> None:
    spill = spilled(tmp_path / "spill", FRAMES)
    assert spill.take(20) == [b"one"]
    assert spill.append([b"five"])
    assert drained(spill) == [*FRAMES[1:], b"five"]


def test_a_drained_one_begins_a_new_file(tmp_path: Path) -> None:
    spill = spilled(tmp_path / "spill", FRAMES)
    drained(spill)
    assert spill.append([b"again"])
    assert (tmp_path / "spill").stat().st_size == file_bytes_of([b"again"])
    assert drained(spill) == [b"again"]


def test_only_its_owner_reads_it_and_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = open_files()
    spill = spilled(tmp_path / "spill", FRAMES)
    assert stat.S_IMODE((tmp_path / "spill").stat().st_mode) == 0o600
    spill.take(20)
    assert open_files() == before


@pytest.mark.parametrize("room", [1, HEAD.size, HEAD.size + 50])
def test_a_write_that_fails_half_way_leaves_no_torn_frame(tmp_path: Path, room: int) -> None:
    path = tmp_path / "spill"
    spill = spilled(path, FRAMES)
    size = spill.file_bytes
    with files_of_at_most(size + room):
        assert not spill.append([b"x" * 100])
        assert path.stat().st_size == size
    assert spill.append([b"after"])
    assert drained(spill) == [*FRAMES, b"after"]


def test_a_first_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    spill = Spill(str(tmp_path / "spill"), first=70)
    with files_of_at_most(10):
        assert not spill.append(FRAMES)
    assert not (tmp_path / "spill").exists()
    assert spill.count == spill.file_bytes == 0


def test_a_place_that_is_gone_refuses(tmp_path: Path) -> None:
    assert not Spill(str(tmp_path / "gone" / "spill"), first=70).append(FRAMES)


def test_what_an_earlier_keeper_left_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "spill").write_bytes(b"old" * 10_000)
    assert drained(spilled(tmp_path / "spill", FRAMES)) == FRAMES


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "spill").symlink_to("precious")
    spill = spilled(tmp_path / "spill", FRAMES)
    (tmp_path / "spill").unlink()
    (tmp_path / "spill").symlink_to("precious")
    assert not spill.append([b"five"])
    assert spill.take(1000) == []
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_pipe_in_its_place_holds_nobody_up(tmp_path: Path) -> None:
    spill = spilled(tmp_path / "spill", FRAMES)
    (tmp_path / "spill").unlink()
    os.mkfifo(tmp_path / "spill")
    assert not spill.append([b"five"])
    assert spill.take(1000) == []
    assert spill.count == 0


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    second = file_bytes_of(FRAMES[:1])
    match how:
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut in a head":
            path.write_bytes(content[: second + 3])
        case "cut in a frame":
            path.write_bytes(content[:-1])
        case "another number":
            path.write_bytes(content[:second] + HEAD.pack(99, 0) + content[second + HEAD.size :])
        case "another length":
            path.write_bytes(content[:second] + HEAD.pack(71, 2**32 - 1) + content[second + HEAD.size :])


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("gone", 0),
        ("empty", 0),
        ("cut in a head", 1),
        ("cut in a frame", 3),
        ("another number", 1),
        ("another length", 1),
    ],
)
@pytest.mark.parametrize("bytes_max", [1, 10_000])
def test_from_damage_on_everything_is_lost_and_nothing_false_comes_back(
    tmp_path: Path, how: str, left: int, bytes_max: int
) -> None:
    spill = spilled(tmp_path / "spill", FRAMES)
    damaged(tmp_path / "spill", how)
    assert drained(spill, bytes_max) == FRAMES[:left]
    assert spill.first == 70 + left
    assert not (tmp_path / "spill").exists()
