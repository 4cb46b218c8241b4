"""What a session's server says while nobody listens: held, bounded, until somebody does."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..model.jsonrpc import RequestId, warning

HELD_MAX: Final = 256
HELD_BYTES_MAX: Final = 2**20


class Held:
    """The last messages, oldest first: at most `HELD_MAX`, and `HELD_BYTES_MAX` bytes unless it is one alone."""

    __slots__ = ("_bytes", "_dropped", "_items")

    def __init__(self) -> None:
        self._items: deque[tuple[bytes, RequestId | None]] = deque()
        self._bytes = 0
        self._dropped = 0

    def add(self, frame: bytes, asked_id: RequestId | None) -> list[RequestId]:
        """Hold a message, with its id if it is a question; return the ids of questions dropped for it."""
        self._items.append((frame, asked_id))
        self._bytes += len(frame)
        unanswered: list[RequestId] = []
        while len(self._items) > HELD_MAX or (self._bytes > HELD_BYTES_MAX and len(self._items) > 1):
            dropped, dropped_id = self._items.popleft()
            self._bytes -= len(dropped)
            self._dropped += 1
            if dropped_id is not None:
                unanswered.append(dropped_id)
        return unanswered

    def drop_questions(self) -> list[RequestId]:
        """Hold no question any more, for nobody waits for its answer; return the ids of those that were held."""
        asked = [asked_id for _, asked_id in self._items if asked_id is not None]
        self._items = deque((frame, None) for frame, asked_id in self._items if asked_id is None)
        self._bytes = sum(len(frame) for frame, _ in self._items)
        return asked

    def release(self) -> list[bytes]:
        """Return what is held, and hold nothing any more; what was dropped is told first."""
        frames = [frame for frame, _ in self._items]
        if self._dropped:
            message = f"{self._dropped} earlier messages were not held; open a GET stream right after initialize"
            frames.insert(0, warning({"lost": self._dropped, "message": message}))
        self._items.clear()
        self._bytes = self._dropped = 0
        return frames
