"""The one owner of time: everything that asks what time it is asks a `Clock`."""

from __future__ import annotations

import time
from typing import Final, Protocol

_gettime: Final = time.clock_gettime
_BOOTTIME: Final = time.CLOCK_BOOTTIME

stopwatch_ns: Final = time.perf_counter_ns
"""Returns nanoseconds since some moment: for how long something took, never for when it was."""


class Clock(Protocol):
    """Tells the time of day in seconds since the epoch; never runs backwards within a process."""

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC, never less than any earlier answer of this clock."""
        ...


class SystemClock:
    """The wall clock as read once at the start, carried on by a clock that nobody can set.

    So a wall clock that is stepped, in either direction, neither revives nor expires anything in this process.
    `CLOCK_BOOTTIME` goes on while the machine sleeps (clock_gettime(2)).
    """

    __slots__ = ("_offset_s",)

    def __init__(self) -> None:
        self._offset_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        return _gettime(_BOOTTIME) + self._offset_s
