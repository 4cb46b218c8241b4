"""Turns the answers that take long into streams: one timer for all calls, since all wait equally long."""

from __future__ import annotations

import asyncio
from collections import deque

from .calls import Call
from .live import LiveSession


class Patience:
    """Waits `after_s` seconds for each call, then opens a stream for it unless it is answered.

    A timer per call would cost more than all else that is done for a quick one; here a call costs a place in a queue,
    which it leaves within `after_s` seconds.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._waiting: deque[tuple[float, LiveSession, Call]] = deque()
        self._armed = False

    def wait_for(self, live: LiveSession, call: Call) -> None:
        """Begin to wait for the answer of one call."""
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + self._after_s, live, call))
        if not self._armed:
            self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._armed = True
        loop.call_at(self._waiting[0][0], self._lose, loop)

    def _lose(self, loop: asyncio.AbstractEventLoop) -> None:
        self._armed = False
        now = loop.time()
        while self._waiting and (self._waiting[0][2].answered or self._waiting[0][0] <= now):
            _, live, call = self._waiting.popleft()
            live.open_stream(call)
        if self._waiting:
            self._arm(loop)
