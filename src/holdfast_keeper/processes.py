"""What the keeper asks of Linux: who descends from whom, who carries a marker, and the signals for them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
ENVIRON_BYTES_MAX = 4 * 2**20
TREE_MAX = 100_000


class Process(NamedTuple):
    """One process; `started` (field 22 of proc(5) stat) tells it from a later one with the same number."""

    pid: int
    started: int


class Seen(NamedTuple):
    """A process as it was when it was looked at."""

    process: Process
    group: int
    session: int


_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; see prctl(2).

    Raises:
        OSError: The kernel refused it.
    """
    if _prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {value}): {os.strerror(error)}")


def look(pid: int) -> Seen | None:
    """Return the process with this number, a zombie too, or None."""
    stat = _read(f"/proc/{pid}/stat", 4096)
    # The name in parentheses may hold anything, a parenthesis too; what follows the last one are numbers.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Seen(Process(pid, int(fields[19])), int(fields[2]), int(fields[3]))


def children(pid: int) -> list[int]:
    """Return the children of a process; empty when it is gone.

    Exact for the calling process, as only it can reap its children; for others a snapshot.
    """
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - no start should pay for pathlib
    except OSError:
        return found
    for thread in threads:
        found += map(int, _read(f"/proc/{pid}/task/{thread}/children", 16 * TREE_MAX).split())
    return found


def tree(roots: Iterable[int]) -> Iterator[Process]:
    """Yield the processes of these numbers and all that descend from them, parents first, at most `TREE_MAX`."""
    waiting = list(roots)
    seen: set[int] = set()
    while waiting and len(seen) < TREE_MAX:
        pid = waiting.pop()
        now = look(pid)
        if now is not None and pid not in seen:
            seen.add(pid)
            yield now.process
            waiting += children(pid)


def everyone() -> list[int]:
    """Return the number of every process that can be seen."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - as above


def marker(pid: int, name: str) -> str:
    """Return the value of the variable `name` in the environment a process was started with, or an empty string."""
    key = name.encode() + b"="
    for entry in _read(f"/proc/{pid}/environ", ENVIRON_BYTES_MAX).split(b"\0"):
        if entry.startswith(key):
            return entry[len(key) :].decode("utf-8", "replace")
    return ""


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to exactly this process, never to a later one with its number; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(process.pid)
        try:
            # The handle holds on to whoever has the number now; only then is it worth asking who that is.
            now = look(process.pid)
            if now is not None and now.process == process:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _read(path: str, bytes_max: int) -> bytes:
    """Return a file of /proc, or nothing if the process is gone or not ours to see."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts: list[bytes] = []
    try:
        while bytes_max > 0 and (part := os.read(file, min(bytes_max, 65536))):
            parts.append(part)
            bytes_max -= len(part)
    except OSError:
        return b""
    finally:
        os.close(file)
    return b"".join(parts)
