"""The journals of the sessions in memory."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from .contract import Entry, JournalBounds, Kind, OpenStream
from .memory_entries import SessionJournal, Stream, Written

_TRIMMED_A_SLICE: Final = 500
_LOOKED_AT_A_SLICE: Final = 1000


class MemoryJournal:
    """Keeps journals; whoever calls knows whether the session is there and who may write."""

    def __init__(self) -> None:
        self.before_change: Callable[[str], None] | None = None
        """Is told the id of a session whose journal is about to change, while somebody asks for that."""
        self._journals: dict[str, SessionJournal] = {}
        self._numbered = 0
        self._messages = Written()
        self._streams: OrderedDict[tuple[str, str], float] = OrderedDict()  # and when each was written last
        self._grown: dict[str, None] = {}  # since somebody looked whether they exceed these bounds
        self._bounds: JournalBounds | None = None
        self._bytes = 0

    def append(self, session_id: str, entries: Sequence[Entry]) -> None:
        """Keep `entries`; those that are there already stay as they are."""
        if self.before_change is not None:
            self.before_change(session_id)
        journal = self._journals.setdefault(session_id, SessionJournal())
        self._grown[session_id] = None
        for entry in entries:
            stream = journal.streams.setdefault(entry.stream, Stream())
            number = self._numbered + 1
            is_message = entry.kind is Kind.MESSAGE
            if not stream.add(entry, number if is_message else -number):
                continue
            self._numbered = number
            journal.count_origin(entry.origin, 1)
            self._streams[session_id, entry.stream] = entry.at
            self._streams.move_to_end((session_id, entry.stream))
            if is_message:
                self._count(journal, entry, 1)
                journal.messages[number] = entry
                self._messages.add(number, session_id)
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

    def size(self, session_id: str) -> int:
        """Return about how many entries are kept of a session."""
        journal = self._journals.get(session_id)
        return 0 if journal is None else len(journal.messages) + len(journal.streams)

    def forget(self, session_id: str) -> None:
        """Drop the journal of a session that is deleted."""
        journal = self._journals.pop(session_id, None)
        if journal is None:
            return
        self._bytes -= journal.bytes
        self._grown.pop(session_id, None)
        for number in journal.messages:
            self._messages.remove(number)
        for stream in journal.streams:
            del self._streams[session_id, stream]

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        """Trim by age and all together, then each session that grew; other tasks get their turn in between."""
        trimmed = 0
        while gone := self._trim_oldest(bounds, now - bounds.age_s_max):
            trimmed += gone
            await asyncio.sleep(0)
        if self._bounds not in (None, bounds):
            self._grown = dict.fromkeys(self._journals)
        self._bounds = bounds
        grown, self._grown = self._grown, {}
        try:
            while grown:
                trimmed += self._trim_some(bounds, grown)
                await asyncio.sleep(0)
        finally:
            self._grown.update(grown)
        return trimmed

    def _trim_oldest(self, bounds: JournalBounds, oldest: float) -> int:
        gone = 0
        while self._streams and gone < _TRIMMED_A_SLICE:
            (session_id, stream), written_at = next(iter(self._streams.items()))
            if written_at >= oldest:
                break
            gone += self._cut_stream(session_id, stream, _TRIMMED_A_SLICE - gone)
        while gone < _TRIMMED_A_SLICE and (some := self._messages.oldest()):
            left = self._bytes - bounds.total_bytes_max
            excess: list[tuple[int, str]] = []
            for number, session_id in some:
                entry = self._journals[session_id].messages[number]
                if left <= 0 and entry.at >= oldest:
                    break
                left -= _size_of(entry)
                excess.append((number, session_id))
            gone += self._remove_messages(excess)
            if len(excess) < len(some):
                break
        return gone

    def _trim_some(self, bounds: JournalBounds, grown: dict[str, None]) -> int:
        gone = 0
        for _ in range(min(_LOOKED_AT_A_SLICE, len(grown))):
            session_id, _ = grown.popitem()
            of_this = self._trim_session(bounds, session_id)
            gone += of_this
            if of_this == _TRIMMED_A_SLICE:
                grown[session_id] = None  # for there may be more
            if gone >= _TRIMMED_A_SLICE:
                break
        return gone

    def _trim_session(self, bounds: JournalBounds, session_id: str) -> int:
        journal = self._journals.get(session_id)
        if journal is None:
            return 0
        entries, size_bytes = len(journal.messages), journal.bytes
        excess: list[tuple[int, str]] = []
        for number, entry in islice(journal.messages.items(), _TRIMMED_A_SLICE):
            if entries <= bounds.session_entries_max and size_bytes <= bounds.session_bytes_max:
                break
            entries -= 1
            size_bytes -= _size_of(entry)
            excess.append((number, session_id))
        return self._remove_messages(excess)

    def _remove_messages(self, numbered: Sequence[tuple[int, str]]) -> int:
        of_streams: dict[tuple[str, str], list[Entry]] = {}
        for number, session_id in numbered:
            self._tell(session_id)
            journal = self._journals[session_id]
            entry = journal.messages.pop(number)
            self._messages.remove(number)
            journal.count_origin(entry.origin, -1)
            self._count(journal, entry, -1)
            of_streams.setdefault((session_id, entry.stream), []).append(entry)
        for (session_id, name), entries in of_streams.items():
            streams = self._journals[session_id].streams
            streams[name].remove(entries)
            if not streams[name].entries:
                self._end_stream(session_id, name)
        return len(numbered)

    def _cut_stream(self, session_id: str, name: str, entries_max: int) -> int:
        """Remove the first entries of a stream, and the stream when these were all."""
        self._tell(session_id)
        journal = self._journals[session_id]
        stream = journal.streams[name]
        journal.unfinished.pop(name, None)
        cut = stream.entries[:entries_max]
        for entry, number in zip(cut, stream.numbers, strict=False):
            journal.count_origin(entry.origin, -1)
            if number > 0:
                self._count(journal, journal.messages.pop(number), -1)
                self._messages.remove(number)
        stream.cut(0, len(cut))
        if not stream.entries:
            self._end_stream(session_id, name)
        return len(cut)

    def _end_stream(self, session_id: str, name: str) -> None:
        """Let go of a stream of which nothing is left; of the journal too when it was the last."""
        streams = self._journals[session_id].streams
        del streams[name], self._streams[session_id, name]
        if not streams:  # what held much, and nothing now, would stay as large
            del self._journals[session_id]

    def _tell(self, session_id: str) -> None:
        if self.before_change is not None:
            self.before_change(session_id)

    def _count(self, journal: SessionJournal, entry: Entry, sign: int) -> None:
        size_bytes = sign * _size_of(entry)
        journal.bytes += size_bytes
        self._bytes += size_bytes


def _size_of(entry: Entry) -> int:
    return len(entry.data) + len(entry.request)
