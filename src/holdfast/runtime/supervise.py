"""The only place that makes tasks, so that none is collected while it runs and none fails in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)

# Invariant: the loop itself keeps only weak references to tasks; whoever is in here cannot vanish half way.
_running: Final[set[asyncio.Task[Any]]] = set()


def spawn(coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start `coro` as a task named `name` on the running loop; return the task, which may be awaited or forgotten.

    An exception that ends it is logged with its traceback; awaiting the task raises it as well.
    """
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        _log.error("task %s failed", task.get_name(), exc_info=error)
