"""What a store promises. `holdfast.testing.StoreContract` checks every sentence of it.

A store keeps records and knows nothing of what they mean: expiry, access and capacity are the manager's rules.
Every method may raise `Unavailable` (the outcome is unknown) with the driver's error as its cause; every call ends
within the store's own deadline. `Refused` means that too much waits already: nothing was done. Damage is `Corrupt`,
never "not there", and concerns its own session only; so does `KeyMissing`, where a store encrypts what it keeps. Every
`limit` is 1 or more. Opening and closing belong to whoever opened the store (`stores.url.open_store`), so they are not
part of this.

Here are `Store` and its small abilities; the large ones stand in `contract_journal`, `contract_feed` and
`contract_dump`, and are given out from here.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from ..model.session import Record
from .contract_dump import Dumped, DumpedEntry, DumpPage
from .contract_feed import Change, ChangeKind, Changes, Feed, FeedBounds, Past
from .contract_journal import Batch, Entry, Journal, JournalBounds, Kind, OpenStream, append_to

__all__ = [
    "Batch",
    "Change",
    "ChangeKind",
    "Changes",
    "Described",
    "DumpPage",
    "Dumped",
    "DumpedEntry",
    "Entry",
    "Feed",
    "FeedBounds",
    "IdPage",
    "Journal",
    "JournalBounds",
    "Kind",
    "Listing",
    "OpenStream",
    "Page",
    "Past",
    "Query",
    "Resident",
    "Store",
    "StoreInfo",
    "append_to",
]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which records a scan is about; every given field must match."""

    prefix: str | None = None
    owner: str | None = None
    tag: str | None = None
    state: str | None = None

    def matches(self, record: Record) -> bool:
        """Tell whether `record` is one of those asked for."""
        return (
            (self.prefix is None or record.id.startswith(self.prefix))
            and (self.owner is None or record.owner == self.owner)
            and (self.tag is None or self.tag in record.tags)
            and (self.state is None or record.state == self.state)
        )


class Page(msgspec.Struct, frozen=True):
    """Some records of a scan; `cursor` continues it and is None at the end.

    `cursors[i]` continues it behind `records[i]`. A page may be empty and still have a cursor: the filter matched
    nothing in the part looked at.
    """

    records: list[Record]
    cursors: list[str]
    cursor: str | None


class IdPage(msgspec.Struct, frozen=True):
    """Some ids; `cursor` continues behind them and is None at the end. A page may be empty and still have a cursor."""

    ids: list[str]
    cursor: str | None


class Store(Protocol):
    """Keeps records under their ids, with compare-and-set on the version.

    Versions begin at 1 with each session, so a writer who read a session that was deleted and created again since might
    find the version it expects. Only a record with the same `created_at` is the session that it read.
    """

    async def get(self, session_id: str) -> Record | None:
        """Return the record with all accesses told to this store so far, or None."""
        ...

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        """Write `record` if the same session is stored and its version is still `expect` (0: none is stored yet).

        With `durable` the write outlives a power failure once this returns; without, it outlives the process only.
        The stored `last_accessed` never falls: a later access told to `touch` stays.

        Raises:
            VersionConflict: Someone wrote in between, or it is gone, or another has its id. Nothing was written.
            Moved: The stored term is higher than the record's. Nothing was written.
        """
        ...

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        """Delete the record, and all that belongs to it, if session and version are those of `expect` (None: any).

        Returns whether it was deleted. With `expect` given, an access told since does not save the record.
        """
        ...

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        """Raise `last_accessed` to `at` if it is lower; the version stays. Nothing happens when it is not there.

        Reads through this store see it at once. It is written about `within_s` seconds later at the latest, and at
        close, so a store that writes at a price writes many at once.
        """
        ...

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        """Return up to `limit` matching records in an order of the store's own, which continues at `cursor`.

        A whole scan holds every record that exists throughout it exactly once, whatever is written meanwhile. A record
        that is damaged, or whose key is missing, is left out, and logged: only `get` of it raises `Corrupt` or
        `KeyMissing`.

        Raises:
            Misused: The cursor is not one of this store's.
        """
        ...

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        """Delete up to `limit` records whose deadline is at or before `now`; return those that this call deleted.

        Of any number of callers and processes one is given each record. What was accessed or written in between
        stays. The cost follows what is due, not what is kept. What is damaged stays, and keeps nothing else from
        expiring. Without a write to power-safe storage: what a power failure brings back is due again.
        """
        ...


@runtime_checkable
class Resident(Protocol):
    """An ability of stores that have every record in this process's memory: to act without waiting for anything.

    Acts of both kinds on one session count in the order in which they are called.
    """

    def get_now(self, session_id: str) -> Record | None:
        """Do what `Store.get` does."""
        ...

    def put_now(self, record: Record, expect: int) -> None:
        """Do what `Store.put` does."""
        ...

    def find_now(self, session_id: str, now: float) -> tuple[Record, float] | None:
        """Return a record that is active and whose deadline is after `now`, as it was written, and its last access.

        Whoever needs both apart saves the store a record that differs from what it has by nothing but that access.
        """
        ...

    def use_now(self, session_id: str, now: float) -> Record | None:
        """Count an access at `now` of what `find_now` would find; return it as it was written."""
        ...


@runtime_checkable
class Listing(Protocol):
    """An ability of stores: lists ids without reading records, so that it is fast and no damage hides an id."""

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        """Return the ids, among up to `limit` records, of those that are active and whose deadline is after `now`.

        The order is the store's own and continues at `cursor`; whole lists hold what whole scans do, and the damaged.

        Raises:
            Misused: The cursor is not one of this store's.
        """
        ...


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What a store is.

    `kind` is the scheme of its address; `durability` what a durable write outlives: "none" (not even the process),
    "off" (the process), "interval" (a power failure, once a minute has passed) or "full" (a power failure). `schema` is
    the version of its form on disk, 0 when it has none; `health` "ok", or what is wrong. A `shared` one may be used by
    other processes at the same time. `older_keys` is how many of what it keeps this process could not seal anew, by the
    id of the key they lie under, "" for none; None where there is no key ring, or not all was looked at yet.
    """

    kind: str
    durability: str
    schema: int
    health: str
    shared: bool
    older_keys: dict[str, int] | None = None


@runtime_checkable
class Described(Protocol):
    """An ability of stores: says what it is and how it stands, and how much it keeps."""

    async def info(self) -> StoreInfo:
        """Return what it is; a store that cannot be used says so in `health`, and raises nothing."""
        ...

    async def count(self, now: float) -> dict[str, int]:
        """Return how many records there are in each state, without those whose deadline is at or before `now`."""
        ...
