"""Notices when an event loop is blocked."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

_BEAT_S: Final = 0.001


def _runqueue_s() -> float:
    """Return how long this thread has waited for a processor: that is the machine's doing, not the program's.

    Where the kernel does not tell, nothing is subtracted. Source: the second figure of /proc/PID/task/TID/schedstat,
    in ns (Linux, Documentation/scheduler/sched-stats).
    """
    try:
        figures = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    except OSError:
        return 0.0
    return int(figures[1]) / 1e9


class LoopWatch:
    """Fails the test when the running loop could not come round for more than `bound_s` seconds inside the block.

    A beat is due every millisecond; a stall is how much later it came, less the time in which other programs had the
    processor. The longest is `worst_s`. Waiting for the GIL and for the disk counts.
    """

    def __init__(self, bound_s: float) -> None:
        self.bound_s = bound_s
        self.worst_s = 0.0

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._schedule()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        self._measure()
        if kind is None and self.worst_s > self.bound_s:
            pytest.fail(f"the event loop was blocked for {self.worst_s * 1e3:.1f} ms (bound {self.bound_s * 1e3:.1f})")

    def _schedule(self) -> None:
        self._waited_s = _runqueue_s()
        self._due = time.perf_counter() + _BEAT_S
        self._timer = self._loop.call_later(_BEAT_S, self._beat)

    def _beat(self) -> None:
        self._measure()
        self._schedule()

    def _measure(self) -> None:
        late_s = time.perf_counter() - self._due - (_runqueue_s() - self._waited_s)
        self.worst_s = max(self.worst_s, late_s)
