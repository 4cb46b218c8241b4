"""What a connection needs while it carries a stream: signs of life, and a look whether its client is still there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from ..model import Unauthenticated, Unavailable
from ..runtime import spawn
from .sse import RETRY
from .streams import Outlet

BEAT_S: Final = 15.0


class Attendance:
    """Looks after one connection, from `begin` to `end`; whatever is wrong closes its outlet.

    `identify_again` returns the owner that the request's credentials name now; None where nobody needs any.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        outlet: Outlet,
        identify_again: Callable[[], Awaitable[str]] | None,
        owner: str | None,
        *,
        beat_s: float = BEAT_S,
    ) -> None:
        self._receive = receive
        self._outlet = outlet
        self._identify_again = identify_again
        self._owner = owner
        self._beat_s = beat_s
        self._loop = asyncio.get_running_loop()
        self._last: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    def begin(self, watch_after_s: float) -> None:
        """Look from `watch_after_s` seconds on, since most streams are over by then."""
        self._next = self._loop.call_later(watch_after_s, self._watch)

    def end_after(self, within_s: float | None) -> None:
        """Close the outlet in so many seconds: the client shall come back, so it must know by now where it stands."""
        if within_s is not None:
            self._last = self._loop.call_later(within_s, self._outlet.close, RETRY)

    def end(self) -> None:
        """Look no more."""
        for ending in (self._next, self._last, self._watching, self._checking):
            if ending is not None:
                ending.cancel()

    def _watch(self) -> None:
        self._watching = spawn(self._close_when_left(), name="watch for a client that leaves")
        # Thousands that came back at once would else show their signs of life at once, for ever.
        self._next = self._loop.call_later(random.uniform(0.5, 1.0) * self._beat_s, self._beat)

    def _beat(self) -> None:
        self._outlet.beat()
        self._next = self._loop.call_later(self._beat_s, self._beat)
        if self._identify_again is not None and (self._checking is None or self._checking.done()):
            self._checking = spawn(self._close_when_unknown(self._identify_again), name="look again who listens")

    async def _close_when_left(self) -> None:
        """Free the stream for the next connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._outlet.close()

    async def _close_when_unknown(self, identify_again: Callable[[], Awaitable[str]]) -> None:
        """End the connection of a client whose token was revoked or has expired; what it asked goes on."""
        try:
            owner: str | None = await identify_again()
        except Unauthenticated:
            owner = None
        except Unavailable:  # it cannot be decided now
            return
        if owner != self._owner:
            self._outlet.close(RETRY)
