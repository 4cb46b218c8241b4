"""What waits for a worker's stdin."""

from __future__ import annotations

import os

FRAMES_MAX = 256
BYTES_MAX = 2**20
OVERFLOW_BYTES = 80 * 2**20  # more than the largest message, which may wait behind another one
CHUNK_BYTES = 65536  # what an empty pipe takes
NOTHING = b""


class Inbox:
    """Frames as lines, written to a pipe as it takes them; a torn line is never left in front of another frame.

    What goes first overtakes all but the chunk that is being written.
    """

    __slots__ = ("_bytes", "_chunk", "_chunk_frames", "_fd", "_first", "_waiting")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._chunk: bytes | memoryview = NOTHING
        self._chunk_frames = 0
        # None when empty, for most of thousands are.
        self._first: list[bytes] | None = None
        self._waiting: list[bytes] | None = None
        self._bytes = 0

    def add(self, frame: bytes, first: bool = False) -> None:
        """Queue one frame, whatever waits already."""
        if first:
            self._first = _appended(self._first, frame)
        else:
            self._waiting = _appended(self._waiting, frame)
        self._bytes += len(frame) + 1

    def write(self) -> bool:
        """Write what the pipe takes; return whether somebody may still read it."""
        while self._bytes:
            chunk = self._chunk or self._cut_chunk()
            try:
                written = os.write(self._fd, chunk)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._bytes -= written
            self._chunk = NOTHING if written == len(chunk) else memoryview(chunk)[written:]
        return True

    def _cut_chunk(self) -> bytes:
        """Make and return the next chunk of whole frames; one frame may be larger than a chunk."""
        queue = self._first or self._waiting
        assert queue is not None
        count, size = 1, len(queue[0])
        while count < len(queue) and size + len(queue[count]) < CHUNK_BYTES:
            size += len(queue[count]) + 1
            count += 1
        self._chunk = chunk = b"\n".join(queue[:count]) + b"\n"
        self._chunk_frames = count
        del queue[:count]
        self._first, self._waiting = self._first or None, self._waiting or None
        return chunk

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._bytes

    @property
    def over(self) -> bool:
        """Whether more than `BYTES_MAX` or `FRAMES_MAX` waits: the server should send no more requests."""
        return self._bytes > BYTES_MAX or self._frames > FRAMES_MAX

    @property
    def below_half(self) -> bool:
        """Whether less than half of either bound waits."""
        return self._bytes < BYTES_MAX // 2 and self._frames < FRAMES_MAX // 2

    @property
    def overflowing(self) -> bool:
        """Whether more than `OVERFLOW_BYTES` waits behind the frames that are being written, however large they are."""
        return self._bytes - len(self._chunk) > OVERFLOW_BYTES

    @property
    def _frames(self) -> int:
        return (self._chunk_frames if self._chunk else 0) + len(self._first or ()) + len(self._waiting or ())


def _appended(queue: list[bytes] | None, frame: bytes) -> list[bytes]:
    if queue is None:
        return [frame]
    queue.append(frame)
    return queue
