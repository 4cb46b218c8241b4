"""A server that was stopped (SIGSTOP, a debugger) in the middle of a write holds a lock that its successor needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..runtime import spawn

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 3.0
LOOK_EVERY_S: Final = 1.0
LOOKS_MAX: Final = 60


@contextlib.contextmanager
def ending_who_is_stopped(pids: Sequence[int]) -> Iterator[None]:
    """End those of these servers that are stopped, if what is done meanwhile takes longer than `PATIENCE_S`.

    They are superseded by then, so that nothing is lost with them but the locks they hold. Source: proc(5), "state".
    """
    looking = spawn(_look(pids), name="look whether the last server is stopped")
    try:
        yield
    finally:
        looking.cancel()


async def _look(pids: Sequence[int]) -> None:
    await asyncio.sleep(PATIENCE_S)
    for _ in range(LOOKS_MAX):
        for pid in pids:
            _end_if_stopped(pid)
        await asyncio.sleep(LOOK_EVERY_S)


def _end_if_stopped(pid: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in ("T", "t"):
                _log.warning(
                    "the server to be replaced (pid %d) is stopped and holds what this one needs; it is ended", pid
                )
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
