"""What a store promises that keeps a feed: what was written, in order, and the past."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol, runtime_checkable

import msgspec

from ..model.session import Record
from .contract_journal import check_bounds


class ChangeKind(IntEnum):
    """What a change did to its session."""

    CREATED = 0
    UPDATED = 1
    STATE_CHANGED = 2
    OWNER_CHANGED = 3
    DELETED = 4
    EXPIRED = 5

    @property
    def is_end(self) -> bool:
        """Whether the session is gone with it."""
        return self >= ChangeKind.DELETED


class Change(msgspec.Struct, frozen=True, gc=False):
    """One write of a session: `record` as it was written at `at`, or as it was last where the change is its end.

    The changes of one session are ordered by `created_at` and `version` of the record; its end comes behind its last
    version. An access is no change. `OWNER_CHANGED` means another term, `STATE_CHANGED` another state.
    """

    kind: ChangeKind
    at: float
    record: Record
    cursor: str
    """Continues behind this change."""


class Changes(msgspec.Struct, frozen=True):
    """Some changes; `cursor` continues behind them. At `is_end` there were no more when it was read.

    There may be none and no end: what was looked at is damaged.
    """

    changes: list[Change]
    cursor: str
    is_end: bool


class Past(msgspec.Struct, frozen=True):
    """Some records as they were; `cursor` continues behind them and is None at the end."""

    records: list[Record]
    cursor: str | None


class FeedBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much a feed keeps. It goes in parts, of about a twenty-fourth of either bound, the oldest first."""

    age_s_max: float = 86_400.0
    bytes_max: int = 2**30

    def __post_init__(self) -> None:
        check_bounds(self)


@runtime_checkable
class Feed(Protocol):
    """An ability of stores: keeps a log of what was written, so that others can follow, and the past can be looked at.

    A change is written with what it changes, both or neither, whichever process writes. `at` is the writer's clock, in
    seconds since the epoch, and never falls within a session. Cursors are the store's own and stay good across
    processes.
    """

    async def changes(self, *, after: str | None = None, limit: int = 500) -> Changes:
        """Return up to `limit` changes behind the cursor, in the order in which they were made; None: behind nothing.

        Following cursors shows every change once. A change that is damaged is left out, and logged; one that is whole
        and cannot be read here is never passed over.

        Raises:
            CursorExpired: What comes behind it is not all kept, or a power failure has taken what it is behind, or it
                is of another feed: a store that was restored or repaired begins a new one.
            KeyMissing: The next change is sealed under a key that is not in the key ring.
            Misused: The cursor is none of a feed, or a newer version wrote the next change.
        """
        ...

    async def position(self) -> str:
        """Return the cursor behind every change made so far."""
        ...

    async def state_at(self, at: float, *, changed: bool = False, cursor: str | None = None, limit: int = 500) -> Past:
        """Return some of the records as they were stored at the moment `at`, up to `limit`, or those changed since.

        A whole pass, which may take place while others write, returns each at least once, in any order; one that comes
        again is the same. Accesses are not in it: `last_accessed` is that of the write, or that of the end.

        Raises:
            Misused: `at` is before the earliest moment of which all is known, which the message names; or the cursor is
                not one of this store.
        """
        ...

    async def trim_changes(self, bounds: FeedBounds, now: float) -> int:
        """Let go of what exceeds `bounds`, oldest first, in bounded steps; return how many changes went."""
        ...
