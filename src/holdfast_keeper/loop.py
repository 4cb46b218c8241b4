"""The one loop of the keeper: descriptors that are ready, and calls that are due."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
EVENTS_MAX = 256  # a turn: few enough that output stays near its bound


class Loop:
    """Watches descriptors with one epoll and keeps calls until they are due; knows nothing of workers."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._calls_made = 0

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the ready events of `fd` until it is forgotten, also while they stay ready."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on a descriptor that is watched."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`; nothing happens if it is not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call `call` once, `delay_s` seconds from now at the earliest; it cannot be taken back."""
        self._calls_made += 1
        heapq.heappush(self._calls, (time.monotonic() + delay_s, self._calls_made, call))

    def turn(self) -> None:
        """Wait until something is ready or due, then call what is."""
        timeout_s = max(0.0, self._calls[0][0] - time.monotonic()) if self._calls else -1
        handlers = self._handlers
        for fd, events in self._epoll.poll(timeout_s, EVENTS_MAX):
            # An earlier handler of this turn may have forgotten this one.
            handler = handlers.get(fd)
            if handler is not None:
                handler(events)
        if self._calls:
            self._call_due()

    def _call_due(self) -> None:
        now = time.monotonic()
        while self._calls and self._calls[0][0] <= now:
            heapq.heappop(self._calls)[2]()
