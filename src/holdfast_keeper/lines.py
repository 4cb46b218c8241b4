"""Cuts a worker's output into lines: one JSON-RPC message each."""

from __future__ import annotations

from itertools import takewhile


class Lines:
    """Splits a stream of bytes at newlines, wherever its chunks end; each byte is searched once.

    What waits for its newline is at most `bytes_max` and one chunk. `too_long` says that a line went over the bound;
    nothing is returned from then on.
    """

    __slots__ = ("_bytes_max", "_part", "too_long")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._part = bytearray()
        self.too_long = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, without their newlines and without the blank ones."""
        if self.too_long:
            return []
        first, newline, rest = chunk.partition(b"\n")
        if newline and not (rest or self._part):  # one line, as most of the time
            return self._checked([first])
        if not newline:
            self._part += chunk
            self.too_long = len(self._part) > self._bytes_max
            return []
        if self._part:
            self._part += first
            first = bytes(self._part)
            self._part.clear()
        lines = [first, *rest.split(b"\n")]
        self._part += lines.pop()
        return self._checked(lines)

    def end(self) -> list[bytes]:
        """Return what followed the last newline as a line, if there is anything; the stream has ended."""
        last = bytes(self._part)
        self._part.clear()
        return [] if self.too_long else self._checked([last])

    def _checked(self, lines: list[bytes]) -> list[bytes]:
        self.too_long = len(self._part) > self._bytes_max
        if max(map(len, lines)) > self._bytes_max:
            self.too_long = True
            lines = list(takewhile(lambda line: len(line) <= self._bytes_max, lines))
        return [line for line in lines if line and not line.isspace()]
