"""Finds expired records in memory at a cost that follows their number: ids filed under the second of their deadline.

An access moves nothing. When a second has come, what is filed under it is looked at: expired, or filed again.
"""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final

from ..model.session import NEVER, Record

_LOOKED_AT_A_SLICE: Final = 1000  # then other tasks get their turn: a slice takes less than 1 ms
_SECONDS_SPARE: Final = 1000
_NOWHERE: Final = -(2**62)
_EXPIRED: Final = _NOWHERE - 1


class Kept:
    """A record in memory, its place in the order of creation, and the second under which it is filed."""

    __slots__ = ("number", "record", "second")

    def __init__(self, record: Record, number: int) -> None:
        self.record = record
        self.number = number
        self.second = _NOWHERE


class Deadlines:
    """Files what is in `kept`, which its owner fills and empties.

    Invariant: each is filed once at most, and never under a later second than that of its deadline.
    """

    __slots__ = ("_expired", "_filed", "_kept", "_seconds")

    def __init__(self, kept: dict[str, Kept]) -> None:
        self._kept = kept
        self._filed: dict[int, set[str]] = {}
        self._seconds: list[int] = []
        self._expired: dict[str, None] = {}

    def file(self, kept: Kept) -> None:
        """File what is new, or whose deadline may have moved to an earlier moment."""
        if kept.second == _EXPIRED:
            self.forget(kept)
        deadline = kept.record.deadline
        if deadline == NEVER:
            # What is filed already is taken out when its second comes.
            return
        second = int(deadline)
        if _NOWHERE < kept.second <= second:
            return
        self.forget(kept)
        kept.second = second
        ids = self._filed.get(second)
        if ids is None:
            ids = self._filed[second] = set()
            heappush(self._seconds, second)
        ids.add(kept.record.id)

    def accessed(self, kept: Kept) -> None:
        """Note that the deadline of `kept` moved to a later moment."""
        if kept.second == _EXPIRED:
            self.file(kept)

    def forget(self, kept: Kept) -> None:
        """Take out what is deleted; nothing happens when it is not filed."""
        if kept.second == _EXPIRED:
            del self._expired[kept.record.id]
        elif kept.second != _NOWHERE:
            ids = self._filed[kept.second]
            ids.discard(kept.record.id)
            if not ids:
                self._drop(kept.second)
        kept.second = _NOWHERE

    async def due(self, now: float, limit: int) -> list[Record]:
        """Return up to `limit` records whose deadline is at or before `now`, in slices that stall nobody."""
        later_this_second: list[Kept] = []
        try:
            more = True
            while more:
                more = self._look(now, limit, later_this_second)
                await asyncio.sleep(0)
        finally:
            for kept in later_this_second:
                if self._kept.get(kept.record.id) is kept:
                    self.file(kept)
        found: list[Record] = []
        for at, session_id in enumerate(list(islice(self._expired, limit))):
            if at % _LOOKED_AT_A_SLICE == _LOOKED_AT_A_SLICE - 1:
                await asyncio.sleep(0)
            due = self._kept.get(session_id)
            if due is None:
                continue  # deleted while others had their turn
            if due.record.deadline <= now:
                found.append(due.record)
            else:
                # Accessed while others had their turn, or the caller's clock is behind another caller's.
                self.file(due)
        return found

    def _look(self, now: float, limit: int, later_this_second: list[Kept]) -> bool:
        """Look at one slice of what is filed under seconds that have come; return whether there is more."""
        left = _LOOKED_AT_A_SLICE
        while self._seconds and self._seconds[0] <= now and len(self._expired) < limit:
            second = self._seconds[0]
            ids = self._filed.get(second)
            if not ids:
                self._filed.pop(heappop(self._seconds), None)
                continue
            if left == 0:
                return True
            left -= 1
            kept = self._kept[ids.pop()]
            kept.second = _NOWHERE
            deadline = kept.record.deadline
            if deadline <= now:
                kept.second = _EXPIRED
                self._expired[kept.record.id] = None
            elif deadline < second + 1:
                later_this_second.append(kept)
            else:
                self.file(kept)
        return False

    def _drop(self, second: int) -> None:
        del self._filed[second]
        # The heap may keep seconds under which nothing is filed any more: about as many as others.
        if len(self._seconds) > 2 * len(self._filed) + _SECONDS_SPARE:
            self._seconds = list(self._filed)
            heapify(self._seconds)
