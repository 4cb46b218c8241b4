"""Everything in a memory store as it was at one moment, page by page, and a store made of such pages.

What is about to change and was not given out yet is set aside first, as it is. So a dump costs memory for what changes
while it goes on, and nothing for the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from ..model.session import Record
from .contract import DumpedEntry, DumpPage, Entry

_SESSIONS: Final = 200  # in a page, and looked at in a slice
_ENTRIES: Final = 500


class Whole(NamedTuple):
    """A session and its journal, each entry with its number."""

    record: Record
    entries: list[tuple[int, Entry]]


class MemoryDump:
    """One dump, of the sessions whose place is below `end`; `whole_from` gives those from a place on, as they are."""

    def __init__(
        self,
        term: int,
        end: int,
        whole_from: Callable[[int], Iterator[tuple[int, Whole]]],
        *,
        journal: bool,
        expected: int,
    ) -> None:
        self.journal = journal
        self._expected = expected
        self._term = term
        self._end = end
        self._next = 0
        self._aside: dict[int, Whole] = {}
        self._whole_from = whole_from

    def before_change(self, place: int, whole: Callable[[], Whole]) -> None:
        """Set the session at `place` aside, unless it was given out, is set aside, or is newer than the dump."""
        if self._next <= place < self._end and place not in self._aside:
            self._aside[place] = whole()

    async def pages(self) -> AsyncIterator[DumpPage]:
        """Yield everything."""
        yield DumpPage(term=self._term, expected=self._expected)
        while self._next < self._end:
            for page in _pages(self._term, self._slice()):
                yield page
            await asyncio.sleep(0)
        gone = deque(self._aside.values())  # what was deleted
        self._aside.clear()
        while gone:
            for page in _pages(self._term, [gone.popleft() for _ in range(min(len(gone), _SESSIONS))]):
                yield page
            await asyncio.sleep(0)

    def _slice(self) -> list[Whole]:
        found: list[Whole] = []
        entries = 0
        for place, whole in islice(self._whole_from(self._next), _SESSIONS):
            if place >= self._end:
                break
            self._next = place + 1
            found.append(self._aside.pop(place, whole))
            entries += len(whole.entries)
            if entries > _ENTRIES:
                return found
        if len(found) < _SESSIONS:
            self._next = self._end
        return found


def _pages(term: int, sessions: list[Whole]) -> Iterator[DumpPage]:
    if sessions:
        yield DumpPage(term=term, records=[whole.record for whole in sessions])
    entries = [DumpedEntry(whole.record.id, *numbered) for whole in sessions for numbered in whole.entries]
    for start in range(0, len(entries), _ENTRIES):
        yield DumpPage(term=term, entries=entries[start : start + _ENTRIES])
