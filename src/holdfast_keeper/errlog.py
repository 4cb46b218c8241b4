"""Keeps what a worker writes to stderr: bounded on disk, and its last lines in memory."""

from __future__ import annotations

import contextlib
import os

FILE_BYTES_MAX = 256 * 1024
TAIL_BYTES_MAX = 2048


class ErrorLog:
    """Appends to a file; a full one becomes `<path>.1`, in place of the one before.

    Each of the two files holds at most `FILE_BYTES_MAX`. A disk that refuses costs log lines, never the worker.
    """

    __slots__ = ("_path", "_size", "_tail")

    def __init__(self, path: str) -> None:
        self._path = path
        self._size: int | None = None
        self._tail = b""

    def write(self, chunk: bytes) -> None:
        """Append `chunk`, of at most `FILE_BYTES_MAX`."""
        self._tail = (self._tail + chunk)[-TAIL_BYTES_MAX:]
        with contextlib.suppress(OSError):
            if self._size is None:
                self._size = _size(self._path)
            if self._size + len(chunk) > FILE_BYTES_MAX:
                os.rename(self._path, self._path + ".1")  # noqa: PTH104 - no start should pay for pathlib
                self._size = 0
            # Opened each time: a descriptor for each of thousands of silent workers would be wasted.
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._size += os.write(file, chunk)
            finally:
                os.close(file)

    @property
    def tail(self) -> str:
        """The last of it, at most `TAIL_BYTES_MAX` bytes, from the start of a line where there is one."""
        text = self._tail
        if len(text) == TAIL_BYTES_MAX and b"\n" in text[:-1]:
            text = text.partition(b"\n")[2]
        return text.decode("utf-8", "replace").rstrip()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - no start should pay for pathlib
    except FileNotFoundError:
        return 0
