"""The only endless loop: does something again and again until it is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .supervise import spawn

_log = logging.getLogger(__name__)


class Periodic:
    """Awaits `act()` every `interval_s` seconds, counted from the end of one to the start of the next.

    The first comes one interval after the start. What `act` raises is logged and never ends the loop.
    """

    def __init__(self, name: str, act: Callable[[], Awaitable[object]], *, interval_s: float) -> None:
        self._name = name
        self._act = act
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin on the running loop; nothing happens when it has begun already."""
        if self._task is None or self._task.done():
            self._task = spawn(self._loop(), name=self._name)

    async def stop(self) -> None:
        """Cancel what runs and return when it has ended; nothing happens when it is not running."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._act()
            except Exception:
                _log.exception("%s failed; it goes on in %s s", self._name, self._interval_s)
