"""Finds the processes of Holdfast that belong to this test run, and only those."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import Final, NamedTuple

TEST_RUN_VARIABLE: Final = "HOLDFAST_TEST_RUN"


class Process(NamedTuple):
    """A process as /proc showed it; `started` tells two with the same pid apart."""

    pid: int
    started: int
    command: str


def leftovers(token: str, folder: Path) -> set[Process]:
    """Return the keepers, servers and workers that this run started.

    Holdfast's own are known by the worker's mark in their environment or by the name in their command line. This run's
    are known by its token, which children inherit, or by a folder under the run's own temporary `folder` in their
    environment or command line: workers get a clean environment, so the token does not reach them.
    """
    mine = (f"{TEST_RUN_VARIABLE}={token}".encode(), os.fsencode(folder) + b"/")
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        process = _look(entry, mine)
        if process is not None:
            found.add(process)
    return found


def _look(entry: Path, mine: tuple[bytes, bytes]) -> Process | None:
    try:
        command = (entry / "cmdline").read_bytes()
        environment = (entry / "environ").read_bytes()
        status = (entry / "stat").read_text()
    except OSError:
        return None  # it ended, or it is somebody else's
    # The name in the second field may hold spaces and brackets; what follows the last bracket is regular.
    state, *fields = status.rpartition(")")[2].split()
    ours = b"HOLDFAST_WORKER=" in environment or b"holdfast" in command
    if state == "Z" or not ours or not any(mark in environment or mark in command for mark in mine):
        return None
    return Process(int(entry.name), int(fields[18]), command.replace(b"\0", b" ").decode(errors="replace").strip())


def wait_gone(processes: set[Process], *, within_s: float) -> set[Process]:
    """Wait until the processes have ended; kill and return those that have not within `within_s` seconds in all."""
    end = time.monotonic() + within_s
    return {process for process in processes if not _ended(process, end)}


def _ended(process: Process, end: float) -> bool:
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if _started(process.pid) != process.started:
            return True
        watch = select.poll()
        watch.register(handle, select.POLLIN)
        if watch.poll(max(0.0, end - time.monotonic()) * 1000):
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return False
    finally:
        os.close(handle)


def _started(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None
