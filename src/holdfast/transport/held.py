"""What a session's server says while nobody listens: held, bounded, until somebody does."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from ..model.jsonrpc import RequestId, warning

HELD_MAX: Final = 256
HELD_BYTES_MAX: Final = 2**20


class Waiting(NamedTuple):
    """One message: its number at the keeper, and the id the server gave it if it is a question."""

    frame: bytes
    asked_id: RequestId | None
    number: int


class Held:
    """The last messages, oldest first: at most `HELD_MAX`, and `HELD_BYTES_MAX` bytes unless it is one alone."""

    __slots__ = ("_bytes", "_dropped", "_items")

    def __init__(self) -> None:
        self._items: deque[Waiting] = deque()
        self._bytes = 0
        self._dropped = 0

    def add(self, waiting: Waiting) -> list[Waiting]:
        """Hold a message; return what was dropped for it."""
        self._items.append(waiting)
        self._bytes += len(waiting.frame)
        dropped: list[Waiting] = []
        while len(self._items) > HELD_MAX or (self._bytes > HELD_BYTES_MAX and len(self._items) > 1):
            dropped.append(self._items.popleft())
            self._bytes -= len(dropped[-1].frame)
            self._dropped += 1
        return dropped

    def drop_questions(self) -> list[RequestId]:
        """Hold no question any more, for nobody waits for its answer; return the ids of those that were held."""
        asked = [item.asked_id for item in self._items if item.asked_id is not None]
        self._items = deque(item for item in self._items if item.asked_id is None)
        self._bytes = sum(len(item.frame) for item in self._items)
        return asked

    def release(self) -> list[Waiting]:
        """Return what is held, and hold nothing any more; what was dropped is told first."""
        items = list(self._items)
        if self._dropped:
            message = f"{self._dropped} earlier messages were not held; open a GET stream right after initialize"
            items.insert(0, Waiting(warning({"lost": self._dropped, "message": message}), None, 0))
        self._items.clear()
        self._bytes = self._dropped = 0
        return items
