"""Frames of one worker on disk, while nobody is there to take them."""

from __future__ import annotations

import contextlib
import os
import struct

HEAD = struct.Struct("!QI")  # the frame's number, its length
# Whatever took the file's place meanwhile is neither followed nor waited for.
FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Spill:
    """Consecutive frames in a file: written at its end, read back once from its beginning, then removed.

    The file is there while frames are in it, and open only while it is used: thousands of workers may have one.
    What is read must carry the number that is due, so that damage is a loss and never another frame.
    """

    __slots__ = ("_path", "_read_at", "count", "file_bytes", "first")

    def __init__(self, path: str, first: int) -> None:
        self._path = path
        self._read_at = 0
        self.first = first
        self.count = 0
        self.file_bytes = 0

    @property
    def unread_bytes(self) -> int:
        """How much of the file was not read back yet."""
        return self.file_bytes - self._read_at

    def append(self, frames: list[bytes]) -> bool:
        """Write all of `frames`, or nothing: then return False, and what was there before can still be read."""
        number = self.first + self.count
        parts = [part for at, frame in enumerate(frames) for part in (HEAD.pack(number + at, len(frame)), frame)]
        data = b"".join(parts)
        try:
            self._write(data)
        except OSError:
            if not self.count:
                self.remove()
            return False
        self.file_bytes += len(data)
        self.count += len(frames)
        return True

    def _write(self, data: bytes) -> None:
        if self.count:
            file = os.open(self._path, os.O_WRONLY | FLAGS)
        else:
            self.remove()  # what a keeper before this one left
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS, 0o600)
        try:
            view, at = memoryview(data), self.file_bytes
            while view:
                written = os.pwrite(file, view, at)
                view, at = view[written:], at + written
        except OSError:
            # On a full disk, half of what nobody will read is in the way of others.
            with contextlib.suppress(OSError):
                os.ftruncate(file, self.file_bytes)
            raise
        finally:
            os.close(file)

    def take(self, bytes_max: int) -> list[bytes]:
        """Read back the next frames, of at most `bytes_max` in the file or one; the last one removes the file.

        Nothing comes back when none can be read: all the rest is lost then, and `count` is 0.
        """
        data = self._read(bytes_max)
        frames: list[bytes] = []
        at = 0
        while at + HEAD.size <= len(data):
            number, size = HEAD.unpack_from(data, at)
            begin, end = at + HEAD.size, at + HEAD.size + size
            if number != self.first + len(frames) or end > len(data):
                break
            frames.append(data[begin:end])
            at = end
        self._read_at += at
        self.first += len(frames)
        self.count -= len(frames)
        if not frames or not self.count:
            self.remove()
        return frames

    def _read(self, bytes_max: int) -> bytes:
        """Return what follows in the file: a chunk, or the whole next record if that is longer."""
        try:
            file = os.open(self._path, os.O_RDONLY | FLAGS)
            try:
                data = os.pread(file, min(max(bytes_max, HEAD.size), self.unread_bytes), self._read_at)
                if len(data) >= HEAD.size:
                    need = HEAD.size + HEAD.unpack_from(data)[1]
                    if len(data) < need <= self.unread_bytes:
                        data = os.pread(file, need, self._read_at)
            finally:
                os.close(file)
        except OSError:
            return b""
        return data

    def remove(self) -> None:
        """Forget what is left and remove the file."""
        self.count = self.file_bytes = self._read_at = 0
        with contextlib.suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 - no start should pay for pathlib


def file_bytes_of(frames: list[bytes]) -> int:
    """Return how much these frames take in the file."""
    return sum(map(len, frames)) + HEAD.size * len(frames)
