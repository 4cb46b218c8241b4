"""Notices what blocks an event loop by what it does, not by how long that takes: a busy machine changes nothing.

A profile function (`sys.setprofile`) sees every call on the loop's thread, those of C functions too. What C code calls
by itself it does not see: a lock taken by `with`, a file read by `for`, a function passed to `partial` or `map`.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import io
import logging
import os
import queue
import select
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, Self

import pytest

import holdfast
import holdfast_keeper
from holdfast.stores.lane import Lane

CALLS_MAX: Final = 30_000  # less than 10 ms of anybody's processor
CPU_S_MAX: Final = 0.25
ROUNDS: Final = 3

_OS: Final = (
    "access chmod copy_file_range fdatasync fsync ftruncate getcwd link listdir lstat mkdir open pread pwrite read "
    "readlink readv remove rename replace rmdir scandir sendfile stat statvfs symlink sync system truncate unlink "
    "utime wait waitid waitpid write writev"
)
_FUNCTIONS: Final = frozenset(
    {time.sleep, open, select.select, sqlite3.connect, fcntl.flock, fcntl.lockf, socket.gethostbyname}
    | {getattr(os, name) for name in _OS.split()}
)
_LOCK: Final = type(threading.Lock())
_FILES: Final = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
_TRANSFERS: Final = frozenset(
    {
        "flush",
        "read",
        "read1",
        "readall",
        "readinto",
        "readline",
        "readlines",
        "seek",
        "truncate",
        "write",
        "writelines",
    }
)
_HANDLE_RUN: Final = asyncio.Handle._run.__code__
# asyncio knows what it does, and where a log is written to is for whoever runs the program to say.
_NOT_OURS: Final = (f"{Path(asyncio.__file__).parent}/", logging.__file__)
_OURS: Final = tuple(
    f"{folder}/" for folder in (*holdfast.__path__, *holdfast_keeper.__path__, Path(__file__).parent.parent)
)
# It sleeps for 50 µs, so that the thread it waits for can have the interpreter.
_ON_PURPOSE: Final[frozenset[CodeType]] = frozenset({Lane._stand_aside.__code__})


class LoopWatch:
    """Fails the test when what runs on the loop inside the block calls what may wait, or calls too much in one go.

    `for watch in LoopWatch.rounds(): ...; with watch: ...` also fails when one callback computes for too long without
    calling anything. `cpu_s` is the most processor time one took, without that of the garbage collector, which would go
    through what all other tests left. What asyncio and logging call is their own affair.
    """

    def __init__(self) -> None:
        self.cpu_s: float | None = None
        self._faults: set[str] = set()

    @classmethod
    def rounds(cls) -> Iterator[Self]:
        """Yield a watch; another one while a callback computed for too long, up to `ROUNDS` in all.

        The best round counts, for a virtual machine may put down to a thread what it never had.
        """
        for _ in range(ROUNDS):
            watch = cls()
            yield watch
            assert watch.cpu_s is not None, "nothing was watched"
            if watch.cpu_s <= CPU_S_MAX:
                return
        pytest.fail(f"the event loop was blocked: one callback computed for {watch.cpu_s:.2f} s (bound {CPU_S_MAX})")

    def __enter__(self) -> Self:
        asyncio.get_running_loop()
        self._collects = gc.isenabled()
        gc.disable()
        self._profiled_by = sys.getprofile()
        self.cpu_s = 0.0
        self._begin("the callback that entered the block")
        sys.setprofile(self._see)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.setprofile(self._profiled_by)
        self._end()
        if self._collects:
            gc.enable()
        if kind is None and self._faults:
            pytest.fail("the event loop was blocked: " + "; ".join(sorted(self._faults)))

    def _begin(self, callback: object) -> None:
        self._callback = callback
        self._calls = 0
        self._began_s = time.thread_time()

    def _end(self) -> None:
        self.cpu_s = max(self.cpu_s or 0.0, time.thread_time() - self._began_s)
        if self._calls > CALLS_MAX:
            self._faults.add(f"{self._calls} calls (bound {CALLS_MAX}) in one go by {self._callback}")

    def _see(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            self._calls += 1
            if _may_wait(called) and (where := _blamed(frame)) is not None:
                self._faults.add(f"{called.__qualname__} called by {where}")
        elif event == "call":
            self._calls += 1
            if frame.f_code is _HANDLE_RUN:
                self._begin(frame.f_locals["self"])
        elif event == "return" and frame.f_code is _HANDLE_RUN:
            self._end()


def _may_wait(called: Any) -> bool:
    owner: object = called.__self__
    name: str = called.__name__
    match owner:
        case sqlite3.Connection() | sqlite3.Cursor():
            return True
        case socket.socket():
            return owner.gettimeout() != 0 and name.startswith(("accept", "connect", "recv", "send"))
        case queue.SimpleQueue():
            return name == "get" and owner.empty()
        case _LOCK():
            return name == "acquire" and owner.locked()
        case select.epoll():
            return name == "poll"
    return called in _FUNCTIONS or (isinstance(owner, _FILES) and name in _TRANSFERS)


def _blamed(frame: FrameType | None) -> str | None:
    """Return the line of ours that led to a call in `frame`; None when nothing of ours is at fault."""
    while frame is not None and frame.f_code is not _HANDLE_RUN:
        file = frame.f_code.co_filename
        if frame.f_code in _ON_PURPOSE or file.startswith(_NOT_OURS):
            return None
        if file.startswith(_OURS):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return "a callback"
