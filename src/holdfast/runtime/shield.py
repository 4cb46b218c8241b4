"""Cleanup that awaits must run to its end although its task was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .supervise import spawn

T = TypeVar("T")


async def shielded(coro: Coroutine[Any, Any, T], *, within_s: float, name: str = "cleanup") -> T:
    """Run `coro` to its end, at most `within_s` seconds, whatever is cancelled meanwhile; return its result.

    A cancellation that arrives is raised once the end is reached, however often it is repeated (anyio's scopes
    deliver it again at every await).

    Raises:
        TimeoutError: It did not end in time; it was cancelled.
    """
    loop = asyncio.get_running_loop()
    task = spawn(coro, name=name)
    ends_at = loop.time() + within_s
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and (left_s := ends_at - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left_s)
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.done():
        task.cancel()
        raise cancelled or TimeoutError(f"{name} did not end within {within_s} s and was cancelled")
    if cancelled is not None:
        raise cancelled
    return task.result()
