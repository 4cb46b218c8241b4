"""Finds expired records in memory at a cost that follows their number: filed under the second of their deadline.

An access moves nothing. When a second has come, what is filed under it is looked at: expired, or filed again. What is
deleted, or filed elsewhere, stays where it was and is passed over, without its record, until more than half of a slot
is such.
"""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from ..model.session import NEVER, Record

_SLOT_MAX: Final = 1024  # one is looked at in a go, then other tasks get their turn: less than 1 ms
_SLOTS_SPARE: Final = 1000
_NOWHERE: Final = -1
EXPIRED: Final = -2
"""The slot of what was found expired."""


_replaced: Final = msgspec.structs.replace


class Run:
    """The ids of records created one after the other; None where one was deleted."""

    __slots__ = ("ids", "live", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ids: list[str | None] = []
        self.live = 0


class Kept(msgspec.Struct, gc=False):
    """A record in memory, its last access, its place in a run of others, and the slot in which it is filed.

    An access changes nothing but `used_at`: a record of its own for each would cost more than all the rest.
    Never seen by the garbage collector, which has nothing to find in it: there are no cycles.
    """

    record: Record
    used_at: float
    run: Run
    place: int
    slot: int = _NOWHERE

    @property
    def deadline(self) -> float:
        """The record's, with the last access."""
        record = self.record
        timeout, max_age = record.timeout, record.max_age
        idle_end = NEVER if timeout is None else self.used_at + timeout
        return idle_end if max_age is None else min(idle_end, record.created_at + max_age)

    def merged(self) -> Record:
        """Return the record with the last access."""
        record = self.record
        if record.last_accessed != self.used_at:
            record = self.record = _replaced(record, last_accessed=self.used_at)
        return record

    def clear(self) -> None:
        """Let go of the record, which is deleted: a slot may hold what held it for as long as its timeout was."""
        self.record, self.run = _NOTHING, _NO_RUN


_NOTHING: Final = Record("", 0, 0, 0.0, 0.0, None, None, None, frozenset(), "terminated", None, b"")
_NO_RUN: Final = Run(0)


class Slot:
    """Some of those whose deadline is in one second, and how many of its entries are there for nothing."""

    __slots__ = ("entries", "number", "second", "stale")

    def __init__(self, number: int, second: int) -> None:
        self.number = number
        self.second = second
        self.entries: list[Kept] = []
        self.stale = 0


class Deadlines:
    """Files what its owner keeps.

    Invariant: each is filed once at most, and never under a later second than that of its deadline.
    """

    __slots__ = ("_open", "_seconds", "_slots", "_slots_made", "expired", "expired_ended", "looked_at")

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._open: dict[int, Slot] = {}
        self._seconds: list[tuple[int, int]] = []
        self._slots_made = 0
        self.expired: dict[str, None] = {}
        """The ids of those that were found expired and are still kept."""
        self.expired_ended = 0
        """How many of these are not active."""
        self.looked_at = 0.0
        """The latest moment that anybody looked for: what expires later is not among them."""

    def file(self, kept: Kept) -> None:
        """File what is new, or whose deadline may have moved to an earlier moment."""
        number = kept.slot
        if number == EXPIRED:
            self.forget(kept)
        deadline = kept.deadline
        if deadline == NEVER:
            # What is filed already is taken out when its second comes.
            return
        second = int(deadline)
        if number >= 0:
            if self._slots[number].second <= second:
                return
            self.forget(kept)
        slot = self._open.get(second)
        if slot is None or len(slot.entries) >= _SLOT_MAX:
            slot = self._slot(second)
        slot.entries.append(kept)
        kept.slot = slot.number

    def forget(self, kept: Kept) -> None:
        """Take out what is deleted; nothing happens when it is not filed."""
        number, kept.slot = kept.slot, _NOWHERE
        if number == EXPIRED:
            del self.expired[kept.record.id]
            self.expired_ended -= kept.record.state != "active"
        elif number >= 0:
            slot = self._slots[number]
            slot.stale += 1
            if slot.stale >= len(slot.entries):
                self._drop(slot)
            elif slot.stale * 2 > len(slot.entries):
                slot.entries = [entry for entry in slot.entries if entry.slot == number]
                slot.stale = 0

    async def look(self, now: float, enough: int | None = None) -> None:
        """Find whose deadline is at or before `now`, until `enough` are in `expired`, in slices that stall nobody."""
        self.looked_at = max(self.looked_at, now)
        made = self._slots_made
        while self._seconds and (enough is None or len(self.expired) < enough):
            second, number = self._seconds[0]
            # What is due later in this second is filed again, in slots that are made meanwhile.
            if second > now or (second + 1 > now and number >= made):
                return
            self._look(now)
            await asyncio.sleep(0)

    def _slot(self, second: int) -> Slot:
        number = self._slots_made
        self._slots_made += 1
        slot = self._slots[number] = self._open[second] = Slot(number, second)
        heappush(self._seconds, (second, number))
        return slot

    def _drop(self, slot: Slot) -> None:
        """Let go of a slot in which nothing is filed any more."""
        del self._slots[slot.number]
        if self._open.get(slot.second) is slot:
            del self._open[slot.second]
        # The heap may keep slots that are gone: about as many as others.
        if len(self._seconds) > 2 * len(self._slots) + _SLOTS_SPARE:
            self._seconds = [(each.second, each.number) for each in self._slots.values()]
            heapify(self._seconds)

    def _look(self, now: float) -> None:
        """Look at the slot whose second comes first."""
        second, number = heappop(self._seconds)
        slot = self._slots.pop(number, None)
        if slot is None:
            return
        if self._open.get(second) is slot:
            del self._open[second]
        for kept in slot.entries:
            if kept.slot != number:
                continue
            kept.slot = _NOWHERE
            if kept.deadline <= now:
                kept.slot = EXPIRED
                self.expired[kept.record.id] = None
                self.expired_ended += kept.record.state != "active"
            else:
                self.file(kept)
