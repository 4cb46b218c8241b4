"""In what the entries of journals in memory lie."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from .contract import Entry

_BLOCK: Final = 256


class Stream:
    """The entries of one stream by position, and their numbers in the order of writing, negative for no messages."""

    __slots__ = ("entries", "numbers", "positions")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.numbers: list[int] = []
        self.positions: list[tuple[int, int]] = []

    def add(self, entry: Entry, number: int) -> bool:
        """Add an entry, and return whether it was not there yet."""
        position = (entry.term, entry.seq)
        at = bisect_left(self.positions, position)
        if self.positions[at : at + 1] == [position]:
            return False
        self.positions.insert(at, position)
        self.entries.insert(at, entry)
        self.numbers.insert(at, number)
        return True

    def remove(self, entries: Sequence[Entry]) -> None:
        """Remove these, and what lies together in one go, as each time everything behind it moves."""
        places = sorted(bisect_left(self.positions, (entry.term, entry.seq)) for entry in entries)
        while places:
            end = start = places.pop()
            while places and places[-1] == start - 1:
                start = places.pop()
            self.cut(start, end + 1)

    def cut(self, start: int, end: int) -> None:
        """Remove what lies from one place to another."""
        del self.positions[start:end], self.entries[start:end], self.numbers[start:end]


class Written:
    """The session of each message in the order of writing, by numbers that only grow: 8 bytes an entry.

    A dict would do, were it not that whoever asks one for its first item over and over again, and removes it, waits
    each time for all that was removed before.
    """

    __slots__ = ("_blocks", "_left")

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, list[str | None]] = OrderedDict()
        self._left: dict[int, int] = {}

    def add(self, number: int, session_id: str) -> None:
        """Note a message of this session; `number` is higher than all before."""
        block = number // _BLOCK
        self._blocks.setdefault(block, [None] * _BLOCK)[number % _BLOCK] = session_id
        self._left[block] = self._left.get(block, 0) + 1

    def remove(self, number: int) -> None:
        """Forget a message."""
        block = number // _BLOCK
        self._blocks[block][number % _BLOCK] = None
        self._left[block] -= 1
        if not self._left[block]:
            del self._blocks[block], self._left[block]

    def oldest(self) -> list[tuple[int, str]]:
        """Return some messages, the oldest first; none when there are none."""
        for block, sessions in self._blocks.items():
            numbered = enumerate(sessions, block * _BLOCK)
            return [(number, session_id) for number, session_id in numbered if session_id is not None]
        return []


class SessionJournal:
    """What is kept of one session. `messages` is what may be trimmed, oldest first, by number; `bytes` is theirs.

    `origins` says of each worker's frame how many entries came from it.
    """

    __slots__ = ("bytes", "messages", "origins", "streams", "unfinished")

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.unfinished: dict[str, Entry] = {}
        self.messages: dict[int, Entry] = {}
        self.origins: dict[int, int] = {}
        self.bytes = 0

    def count_origin(self, origin: int, change: int) -> None:
        """Note that one entry more, or less, came from the frame."""
        if origin:
            count = self.origins.get(origin, 0) + change
            if count:
                self.origins[origin] = count
            else:
                del self.origins[origin]
