"""The journals of the sessions in memory."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from .contract import Entry, JournalBounds, Kind, OpenStream

_TRIMMED_A_SLICE: Final = 500


class _Stream:
    """The entries of one stream by position, and their numbers in the order of writing, negative for no messages."""

    __slots__ = ("entries", "numbers", "positions")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.numbers: list[int] = []
        self.positions: list[tuple[int, int]] = []

    def add(self, entry: Entry, number: int) -> bool:
        position = (entry.term, entry.seq)
        at = bisect_left(self.positions, position)
        if self.positions[at : at + 1] == [position]:
            return False
        self.positions.insert(at, position)
        self.entries.insert(at, entry)
        self.numbers.insert(at, number)
        return True

    def remove(self, entry: Entry) -> None:
        at = bisect_left(self.positions, (entry.term, entry.seq))
        del self.positions[at], self.entries[at], self.numbers[at]


class _Journal:
    """What is kept of one session. `messages` is what may be trimmed, oldest first, by number; `bytes` is theirs.

    `origins` says of each worker's frame how many entries came from it.
    """

    __slots__ = ("bytes", "messages", "origins", "streams", "unfinished")

    def __init__(self) -> None:
        self.streams: dict[str, _Stream] = {}
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


class MemoryJournal:
    """Keeps journals; whoever calls knows whether the session is there and who may write."""

    def __init__(self) -> None:
        self.before_change: Callable[[str], None] | None = None
        """Is told the id of a session whose journal is about to change, while somebody asks for that."""
        self._journals: dict[str, _Journal] = {}
        # Both in the order of writing: the session of each message, and when each stream was written last.
        self._messages: dict[int, str] = {}
        self._streams: dict[tuple[str, str], float] = {}
        self._numbered = 0
        self._bytes = 0

    def append(self, session_id: str, entries: Sequence[Entry]) -> None:
        """Keep `entries`; those that are there already stay as they are."""
        if self.before_change is not None:
            self.before_change(session_id)
        journal = self._journals.setdefault(session_id, _Journal())
        for entry in entries:
            stream = journal.streams.setdefault(entry.stream, _Stream())
            number = self._numbered + 1
            is_message = entry.kind is Kind.MESSAGE
            if not stream.add(entry, number if is_message else -number):
                continue
            self._numbered = number
            journal.count_origin(entry.origin, 1)
            self._streams.pop((session_id, entry.stream), None)
            self._streams[session_id, entry.stream] = entry.at
            if is_message:
                self._count(journal, entry, 1)
                journal.messages[number] = entry
                self._messages[number] = session_id
            elif entry.kind is Kind.FINAL:
                journal.unfinished.pop(entry.stream, None)
            elif stream.entries[-1].kind is not Kind.FINAL:
                journal.unfinished[entry.stream] = entry

    def read(self, session_id: str, stream: str, after: tuple[int, int], limit: int) -> list[Entry]:
        """Return up to `limit` entries of the stream behind the position."""
        journal = self._journals.get(session_id)
        kept = None if journal is None else journal.streams.get(stream)
        if kept is None:
            return []
        start = bisect_right(kept.positions, after)
        return kept.entries[start : start + limit]

    def numbered(self, session_id: str) -> list[tuple[int, Entry]]:
        """Return all entries of a session, each with its number in the order of writing."""
        journal = self._journals.get(session_id)
        if journal is None:
            return []
        return [
            (abs(number), entry)
            for stream in journal.streams.values()
            for number, entry in zip(stream.numbers, stream.entries, strict=True)
        ]

    def unfinished(self, session_id: str) -> list[OpenStream]:
        """Return the openings of requests without a final entry, oldest first."""
        journal = self._journals.get(session_id)
        if journal is None:
            return []
        openings = journal.unfinished.values()
        return [OpenStream(opening, journal.streams[opening.stream].entries[-1].seq) for opening in openings]

    def origins(self, session_id: str, first: int, last: int) -> set[int]:
        """Return the origins from `first` to `last` of what is kept of the session, without 0."""
        journal = self._journals.get(session_id)
        if journal is None:
            return set()
        numbers = journal.origins
        wanted = range(max(first, 1), last + 1)
        if len(wanted) < len(numbers):
            return {number for number in wanted if number in numbers}
        return {number for number in numbers if number in wanted}

    def forget(self, session_id: str) -> None:
        """Drop the journal of a session that is deleted."""
        journal = self._journals.pop(session_id, None)
        if journal is None:
            return
        self._bytes -= journal.bytes
        for number in journal.messages:
            del self._messages[number]
        for stream in journal.streams:
            del self._streams[session_id, stream]

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        """Trim by age and all together, then each session; other tasks get their turn in between."""
        trimmed = 0
        while gone := self._trim_oldest(bounds, now - bounds.age_s_max):
            trimmed += gone
            await asyncio.sleep(0)
        for at, session_id in enumerate(list(self._journals)):
            while gone := self._trim_session(bounds, session_id):
                trimmed += gone
                await asyncio.sleep(0)
            if at % _TRIMMED_A_SLICE == 0:
                await asyncio.sleep(0)
        return trimmed

    def _trim_oldest(self, bounds: JournalBounds, oldest: float) -> int:
        gone = 0
        while self._streams and gone < _TRIMMED_A_SLICE:
            (session_id, stream), written_at = next(iter(self._streams.items()))
            if written_at >= oldest:
                break
            gone += self._remove_stream(session_id, stream)
        while self._messages and gone < _TRIMMED_A_SLICE:
            number, session_id = next(iter(self._messages.items()))
            if self._bytes <= bounds.total_bytes_max and self._journals[session_id].messages[number].at >= oldest:
                break
            gone += self._remove_message(session_id, number)
        return gone

    def _trim_session(self, bounds: JournalBounds, session_id: str) -> int:
        journal = self._journals.get(session_id)
        gone = 0
        while journal and journal.messages and gone < _TRIMMED_A_SLICE:
            if len(journal.messages) <= bounds.session_entries_max and journal.bytes <= bounds.session_bytes_max:
                break
            gone += self._remove_message(session_id, next(iter(journal.messages)))
        return gone

    def _remove_message(self, session_id: str, number: int) -> int:
        self._tell(session_id)
        journal = self._journals[session_id]
        entry = journal.messages.pop(number)
        del self._messages[number]
        stream = journal.streams[entry.stream]
        stream.remove(entry)
        journal.count_origin(entry.origin, -1)
        self._count(journal, entry, -1)
        if not stream.entries:
            del journal.streams[entry.stream], self._streams[session_id, entry.stream]
        return 1

    def _remove_stream(self, session_id: str, name: str) -> int:
        self._tell(session_id)
        journal = self._journals[session_id]
        stream = journal.streams.pop(name)
        del self._streams[session_id, name]
        journal.unfinished.pop(name, None)
        for entry in stream.entries:
            journal.count_origin(entry.origin, -1)
        for number in stream.numbers:
            if number > 0:
                self._count(journal, journal.messages.pop(number), -1)
                del self._messages[number]
        return len(stream.entries)

    def _tell(self, session_id: str) -> None:
        if self.before_change is not None:
            self.before_change(session_id)

    def _count(self, journal: _Journal, entry: Entry, sign: int) -> None:
        size_bytes = sign * (len(entry.data) + len(entry.request))
        journal.bytes += size_bytes
        self._bytes += size_bytes
