"""What a person does with a store by hand: look at it, check it, repair it. Blocks; needs no event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import msgspec

from ..codec import PLAIN, Codec
from ..model.errors import Misused
from .address import file_of, names_a_place, split_address
from .contract import StoreInfo

NAMED_MAX: Final = 1000

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told now and then what is being done, how much of it is done, and how much there is, 0 when nobody knows."""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a store is, how many sessions of each state it keeps, and its size with that of its log.

    `keys` is how many records and entries lie under each key, by its id, "" for none: one that is not there, and that
    no process writes with, is not needed any more.
    """

    info: StoreInfo
    sessions: dict[str, int]
    size_bytes: int
    log_bytes: int
    keys: dict[str, int]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: up to 100 sentences on `pages`, and the damaged sessions, of which up to 1,000 are named.

    Ids are redacted. `records` are whole; `newer` of them are of a newer version of Holdfast, and `locked` are sealed
    under keys that were not given.
    """

    pages: tuple[str, ...]
    records: int
    newer: int
    locked: int
    damaged: int
    named: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.pages and not self.damaged


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did: `kept` is the damaged file, "" when nothing was damaged and nothing was changed.

    `lost_sessions` could not be read, of which up to 1,000 are named by redacted ids; sessions of which not even an id
    could be read are not among them. `lost_entries` are messages of the other sessions' journals.
    """

    kept: str
    sessions: int
    entries: int
    lost_sessions: int
    named: tuple[str, ...]
    lost_entries: int


class Upkeep(Protocol):
    """Looks after one store."""

    def inspect(self, now: float) -> Inspection:
        """Return what it is; sessions whose deadline is at or before `now` are not counted. Nothing is changed.

        Raises:
            Misused: It is not there, or not a store of this version or an earlier one.
            Corrupt: It is damaged.
        """
        ...

    def check(self, progress: Progress) -> Findings:
        """Read all of it, also while a server uses it. Nothing is changed.

        Raises:
            Misused: It is not there, or not a store of this version or an earlier one.
        """
        ...

    def repair(self, progress: Progress) -> Repaired:
        """Put what can be read in its place; what was there stays beside it, under another name.

        Killed at any moment, it leaves the store as it was, or one that refuses to open until this is run again.

        Raises:
            Conflict: A process has it open. Nothing was changed.
            Misused: It is not there, or holds records of a newer version. Nothing was changed.
            KeyMissing: It holds records under a key that was not given. Nothing was changed.
            Corrupt: Nothing of it can be read. Nothing was changed.
            Unavailable: The disk is full, or does not work. Nothing was changed.
        """
        ...


def upkeep_of(url: str, *, codec: Codec = PLAIN) -> Upkeep:
    """Return who looks after the store at `url`, which opens what is sealed with `codec`.

    Raises:
        Misused: The address is not understood, or such stores need no upkeep.
    """
    parts = split_address(url)
    is_place = names_a_place(parts)
    # Imported late: whoever keeps sessions in memory needs no sqlite3, and each of the others is an extra.
    if parts.scheme == "sqlite" and is_place:
        from .sqlite_address import place_of
        from .sqlite_upkeep import SqliteUpkeep

        return SqliteUpkeep(*place_of(parts.path, parts.query), codec)
    if parts.scheme in ("leveldb", "rocksdb") and is_place and not parts.query:
        from .ordered_upkeep import OrderedUpkeep

        return OrderedUpkeep(parts.scheme, file_of(url), codec)
    raise Misused(
        f"{url!r} names no store that can be looked after; use sqlite:///relative/path or sqlite:////absolute/path, or "
        "leveldb:// or rocksdb:// likewise"
    )
