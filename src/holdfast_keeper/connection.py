"""One connection to the keeper's socket."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from .loop import READ, Loop
from .outbox import Outbox
from .wire import Splitter

CHUNK_BYTES: Final = 64 * 1024  # more would come from mmap(2) and go back to it, at every read

NONSENSE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, struct.error)

Message = tuple[int, int, bytes, int]


class Connection:
    """Hands what is said on a socket to `heard`, a few messages at a time, until either side ends it.

    `heard` may raise what a message that makes no sense raises: the connection ends, and `broken` is told why before.
    `ended` is called once, at the end.
    """

    def __init__(self, end: socket.socket, loop: Loop) -> None:
        end.setblocking(False)
        self.socket = end
        self._fd = fd = end.fileno()
        self.outbox = Outbox(fd, loop)
        self.heard: Callable[[list[Message]], None] = _pass_over
        self.broken: Callable[[str], None] = _pass_over
        self.ended: Callable[[], None] = _do_nothing
        self._loop = loop
        self._splitter = Splitter()
        loop.watch(fd, READ, self._read)

    def _read(self, _: int) -> None:
        try:
            chunk = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.end()
            return
        try:
            self.heard(self._splitter.feed(chunk))
        except NONSENSE as error:
            self.broken(f"the keeper does not understand what was said: {error!r}")
            self.end()

    def leave_to_another(self) -> socket.socket:
        """Have nothing more to do with the socket, and return it."""
        self._loop.forget(self._fd)
        self.outbox.close()
        return self.socket

    def end(self) -> None:
        """Send what the socket takes at once, and close it; nothing happens when that was done."""
        if not self.outbox.closed:
            self.outbox.flush()
            self._loop.forget(self._fd)
            self.outbox.close()
            self.socket.close()
            self.ended()

    @property
    def up(self) -> bool:
        """Whether neither side has ended it."""
        return not self.outbox.closed


def _pass_over(_: object) -> None:
    """Be told something that concerns nobody."""


def _do_nothing() -> None:
    """Be called when nobody minds."""
