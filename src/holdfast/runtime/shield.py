"""Cleanup that awaits must run to its end although its task was cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from .supervise import spawn

T = TypeVar("T")

_log = logging.getLogger(__name__)


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


async def uncancelled(coro: Coroutine[Any, Any, T], *, name: str) -> T:
    """Run `coro`, which must have bounds of its own, to its end whatever is cancelled meanwhile; return its result.

    A cancellation that arrives is raised once the end is reached; what `coro` raised is logged then. A third of what
    `shielded` costs, for what happens often.
    """
    ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    task = spawn(_settling(coro, ended, name), name=name)
    try:
        return await ended
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise


async def _settling(coro: Coroutine[Any, Any, T], ended: asyncio.Future[T], name: str) -> None:
    try:
        result = await coro
    except asyncio.CancelledError:  # the loop ends, for nobody else can reach it
        ended.cancel()
        raise
    except Exception as error:  # it belongs to whoever waits
        if not ended.done():
            ended.set_exception(error)
        else:
            _log.error("%s failed, and whoever wanted it was cancelled", name, exc_info=error)
    else:
        if not ended.done():
            ended.set_result(result)
