"""What waits to go to whoever is connected."""

from __future__ import annotations

import os
from collections.abc import Callable

from .loop import READ, WRITE, Loop
from .wire import HEADER, message

WAITING_BYTES_MAX = 2**20


class Outbox:
    """Collects messages for one connection and writes them at the end of a turn of the loop, all at once if they fit.

    `congested` asks the workers' readers to pause: more than `WAITING_BYTES_MAX` wait. They are called again when
    it is below half, or closed. Nothing is dropped while the other side is there.
    """

    def __init__(self, fd: int, loop: Loop) -> None:
        self._fd = fd
        self._loop = loop
        self._waiting = bytearray()
        self._paused: list[Callable[[], None]] = []
        self._write_awaited = False
        self.closed = False

    @property
    def congested(self) -> bool:
        """Whether more than `WAITING_BYTES_MAX` waits."""
        return len(self._waiting) > WAITING_BYTES_MAX

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def add(self, kind: int, worker: int, payload: bytes = b"", number: int = 0) -> None:
        """Queue one message."""
        if not self.closed:
            self._waiting += message(kind, worker, payload, number)

    def add_all(self, kind: int, worker: int, payloads: list[bytes], first: int) -> None:
        """Queue one message for each payload, in order, numbered from `first` on."""
        if not self.closed:
            waiting, pack = self._waiting, HEADER.pack
            for number, payload in enumerate(payloads, first):
                waiting += pack(len(payload), kind, worker, number)
                waiting += payload

    def when_clear(self, call: Callable[[], None]) -> None:
        """Call `call` once, when enough has been taken."""
        self._paused.append(call)

    def flush(self) -> bool:
        """Write what the socket takes; return whether the other side is still there."""
        if self._waiting and not self.closed:
            try:
                # Taking from the front of a bytearray moves its start, not its bytes.
                del self._waiting[: os.write(self._fd, self._waiting)]
            except BlockingIOError:
                pass
            except OSError:
                return False
            if bool(self._waiting) != self._write_awaited:
                self._write_awaited = bool(self._waiting)
                self._loop.change(self._fd, READ | WRITE if self._write_awaited else READ)
        if self._paused and len(self._waiting) < WAITING_BYTES_MAX // 2:
            self._call_paused()
        return True

    def close(self) -> None:
        """Drop what waits and whatever is added later: nobody is there to read it."""
        self.closed = True
        self._waiting.clear()
        self._call_paused()

    def _call_paused(self) -> None:
        paused, self._paused = self._paused, []
        for call in paused:
            call()
