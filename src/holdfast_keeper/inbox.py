"""What waits for a worker's stdin."""

from __future__ import annotations

import os
from collections import deque

FRAMES_MAX = 256
BYTES_MAX = 2**20
OVERFLOW_BYTES = 16 * 2**20


class Inbox:
    """Frames as lines, written to a pipe as it takes them; a torn line is never left in front of another frame."""

    __slots__ = ("_fd", "_lengths", "_waiting")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting = bytearray()
        self._lengths: deque[int] = deque()

    def add(self, frame: bytes) -> None:
        """Queue one frame, whatever waits already."""
        self._waiting += frame
        self._waiting += b"\n"
        self._lengths.append(len(frame) + 1)

    def write(self) -> bool:
        """Write what the pipe takes; return whether somebody may still read it."""
        try:
            written = os.write(self._fd, self._waiting)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._forget(written)
        return True

    def _forget(self, written: int) -> None:
        if written == len(self._waiting):
            self._waiting.clear()
            self._lengths.clear()
            return
        del self._waiting[:written]
        lengths = self._lengths
        while written >= lengths[0]:
            written -= lengths.popleft()
        lengths[0] -= written

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def over(self) -> bool:
        """Whether more than `BYTES_MAX` or `FRAMES_MAX` waits: the server should send no more requests."""
        return len(self._waiting) > BYTES_MAX or len(self._lengths) > FRAMES_MAX

    @property
    def below_half(self) -> bool:
        """Whether less than half of either bound waits."""
        return len(self._waiting) < BYTES_MAX // 2 and len(self._lengths) < FRAMES_MAX // 2

    @property
    def overflowing(self) -> bool:
        """Whether more than `OVERFLOW_BYTES` waits behind the frame that is being written, however large that is."""
        return bool(self._lengths) and len(self._waiting) - self._lengths[0] > OVERFLOW_BYTES
