"""Writes the log to stderr without ever waiting for whoever reads it, as nothing may block the event loop."""

from __future__ import annotations

import logging
import os
import select
from typing import Final

WAITING_BYTES_MAX: Final = 256 * 2**10
# So much can be written without blocking to a pipe that is writable (pipe(7)).
_WRITE_BYTES: Final = select.PIPE_BUF


class StderrHandler(logging.Handler):
    """Writes lines to the descriptor `fd`; while nobody reads, up to `WAITING_BYTES_MAX` wait for the next line.

    Lines beyond are lost, and how many is said once there is room. When nobody can read any more, all are.
    """

    def __init__(self, fd: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self._fd = fd
        self._encoding = encoding
        self._writable = select.poll()
        self._writable.register(fd, select.POLLOUT)
        self._waiting = bytearray()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, or let it wait."""
        try:
            line = f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")
        except Exception:  # as logging has it: a line that cannot be made is reported, and harms nobody
            self.handleError(record)
            return
        self.flush()
        if self._lost and not self._waiting:
            self._waiting += b"(%d lines of the log were lost: nobody read them)\n" % self._lost
            self._lost = 0
        if len(self._waiting) + len(line) > WAITING_BYTES_MAX:
            self._lost += 1
        else:
            self._waiting += line
            self.flush()

    def flush(self) -> None:
        """Write what waits, as far as that can be done at once."""
        try:
            while self._waiting and self._writable.poll(0):
                written = os.write(self._fd, self._waiting[:_WRITE_BYTES])
                del self._waiting[:written]
        except OSError:
            self._waiting.clear()
