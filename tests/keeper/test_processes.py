"""Signals reach exactly who is meant, and what waits is counted right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast_keeper.errlog import TAIL_BYTES_MAX, ErrorLog
from holdfast_keeper.inbox import BYTES_MAX, FRAMES_MAX, OVERFLOW_BYTES, Inbox
from holdfast_keeper.processes import Process, look, marker, send_signal, tree
from holdfast_keeper.strays import Strays
from tests.kit import eventually

HOLD = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]


def test_a_later_process_with_the_same_number_gets_no_signal() -> None:
    with subprocess.Popen(HOLD, stdin=subprocess.PIPE) as child:
        seen = look(child.pid)
        assert seen is not None
        send_signal(Process(child.pid, seen.process.started - 1), signal.SIGKILL)
        child.communicate(timeout=60.0)
        assert child.returncode == 0
    send_signal(seen.process, signal.SIGKILL)


def test_a_process_is_seen_below_its_parent_with_its_mark_whatever_its_name_is(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, *HOLD[1:]], stdin=subprocess.PIPE, env={"MARKED": "yes", "XMARKED": "no"}) as child:
        seen = look(child.pid)
        assert seen is not None
        assert (seen.group, seen.session) == (os.getpgrp(), os.getsid(0))
        assert seen.process in set(tree([os.getpid()]))
        eventually(lambda: marker(child.pid, "MARKED") == "yes")
        child.communicate(timeout=60.0)
    assert look(child.pid) is None
    assert marker(child.pid, "MARKED") == ""


class Left:
    """A worker whose main process has ended."""

    def __init__(self) -> None:
        self.number = 1
        self.pid = -1
        self.family: set[Process] = set()
        self.told: list[set[Process]] = []

    def family_found(self, family: set[Process]) -> None:
        self.told.append(family)

    def family_gone(self) -> None:
        self.told.append(set())


def test_nobody_is_believed_to_be_nobodys_at_first_sight() -> None:
    """A process shows no environment for an instant of its exec, and may be the worker's all the same."""
    worker, strays = Left(), Strays("token")
    with subprocess.Popen(HOLD, stdin=subprocess.PIPE, env={}) as child:
        other_mains = {child.pid + 1}
        strays.sweep(other_mains, {1: worker}, {1})
        assert worker.told == []
        strays.sweep(other_mains, {1: worker}, {1})
        assert worker.told == [set()]
        child.communicate(timeout=60.0)
        assert child.returncode == 0


def test_a_process_with_the_mark_is_its_workers() -> None:
    worker, strays = Left(), Strays("token")
    with subprocess.Popen(HOLD, stdin=subprocess.PIPE, env={"HOLDFAST_WORKER": "token-1"}) as child:
        seen = look(child.pid)
        assert seen is not None
        eventually(lambda: marker(child.pid, "HOLDFAST_WORKER"))
        strays.sweep({0}, {1: worker}, {1})
        assert worker.told == [{seen.process}]
        child.communicate(timeout=60.0)


@pytest.fixture
def pipe() -> tuple[int, int]:
    """Give a pipe that does not block its writer."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    return read, write


def test_what_waits_is_over_above_a_bound_and_below_half_under_both(pipe: tuple[int, int]) -> None:
    read, write = pipe
    inbox = Inbox(write)
    for _ in range(FRAMES_MAX):
        inbox.add(b"x" * 1000)
    assert not inbox.over
    inbox.add(b"x")
    assert inbox.over
    while not inbox.empty:
        assert inbox.write()
        taken = len(os.read(read, 2**20))
        assert taken
    assert not inbox.over
    assert inbox.below_half
    inbox.add(b"x" * BYTES_MAX)
    assert inbox.over
    assert not inbox.below_half
    os.close(read)
    assert not inbox.write()
    os.close(write)


def test_what_goes_first_overtakes_all_but_the_chunk_that_is_being_written(pipe: tuple[int, int]) -> None:
    read, write = pipe
    inbox = Inbox(write)
    for number in range(300):
        inbox.add(b"%04d" % number + b"x" * 996)
    assert inbox.write()  # the pipe is full now, in the middle of a line
    inbox.add(b"ping", first=True)
    inbox.add(b"answer", first=True)
    taken = b""
    while not inbox.empty:
        taken += os.read(read, 2**20)
        assert inbox.write()
    taken += os.read(read, 2**20)
    lines = taken.splitlines()
    first = lines.index(b"ping")
    assert lines[first + 1] == b"answer"
    assert 60 < first < 200, "behind what was being written, before the rest"
    del lines[first : first + 2]
    assert [int(line[:4]) for line in lines] == list(range(300)), "nothing is lost, torn or out of order"
    for end in pipe:
        os.close(end)


def test_the_message_being_written_does_not_count_against_the_bound(pipe: tuple[int, int]) -> None:
    inbox = Inbox(pipe[1])
    inbox.add(b"x" * (OVERFLOW_BYTES + 1))
    assert inbox.write()
    inbox.add(b"y" * (OVERFLOW_BYTES - 1))
    assert not inbox.overflowing
    inbox.add(b"z")
    assert inbox.overflowing
    for end in pipe:
        os.close(end)


def test_the_tail_of_a_log_begins_with_a_line_and_a_disk_that_refuses_costs_only_the_file(tmp_path: Path) -> None:
    log = ErrorLog(str(tmp_path / "nowhere" / "stderr.log"))
    for number in range(1000):
        log.write(b"line %d\n" % number)
    log.write(b"\xff half a character")
    assert len(log.tail.encode()) <= TAIL_BYTES_MAX + 2
    assert log.tail.startswith("line ")
    assert log.tail.endswith("\n\ufffd half a character")


def test_a_log_that_exists_is_continued_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "stderr.log"
    path.write_bytes(b"x" * (256 * 1024 - 1))
    log = ErrorLog(str(path))
    log.write(b"1")
    log.write(b"2")
    assert path.read_bytes() == b"2"
    assert (tmp_path / "stderr.log.1").stat().st_size == 256 * 1024
