"""What a store promises. `holdfast.testing.StoreContract` checks every sentence of it.

A store keeps records and knows nothing of what they mean: expiry, access and capacity are the manager's rules.
Every method may raise `Unavailable` (the outcome is unknown) with the driver's error as its cause; every call ends
within the store's own deadline. `Refused` means that too much waits already: nothing was done. Damage is `Corrupt`,
never "not there", and concerns its own session only; so does `KeyMissing`, where a store encrypts what it keeps. Every
`limit` is 1 or more. Opening and closing belong to whoever opened the store (`stores.url.open_store`), so they are not
part of this.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from ..model.errors import HoldfastError, Misused
from ..model.session import Record


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


class Kind(IntEnum):
    """What an entry of the journal is to its stream."""

    OPENING = 0
    MESSAGE = 1
    FINAL = 2


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One message of one stream of a session.

    `stream` is unique in the session for ever. `seq` counts from 0 within the stream, without gaps across terms:
    (term, seq) orders a stream, and a gap in `seq` is a loss. The opening names the JSON-RPC request the stream
    answers (`request`, its id as JSON; empty for a stream that answers none). After the final entry a stream is closed.
    `origin` is the number, at the keeper, of the worker's frame it came from, up to 2**63 - 1; 0: none.
    """

    stream: str
    term: int
    seq: int
    kind: Kind
    at: float
    data: bytes = b""
    request: bytes = b""
    origin: int = 0


class OpenStream(msgspec.Struct, frozen=True):
    """A stream that is not closed: its opening, and the `seq` of the last entry kept of it."""

    opening: Entry
    last_seq: int


class JournalBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much a journal keeps.

    Bytes are those of data and request; where entries are sealed, a store may count what it keeps of them instead.
    Only messages count against entries and bytes, and only they are trimmed for them, oldest first. Openings and final
    entries go by age alone, and together with their stream: counted, many answers would push out every message.
    """

    session_entries_max: int = 10_000
    session_bytes_max: int = 16 * 2**20
    total_bytes_max: int = 4 * 2**30
    age_s_max: float = 86_400.0

    def __post_init__(self) -> None:
        _check_bounds(self)


def _check_bounds(bounds: JournalBounds | FeedBounds) -> None:
    for name in bounds.__struct_fields__:
        value = getattr(bounds, name)
        kinds = (int, float) if name.endswith("_s_max") else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
            wanted = "seconds" if float in kinds else "an int"
            raise Misused(f"{type(bounds).__name__}({name}={value!r:.40}): it is {wanted}, 0 or more")


class Batch(NamedTuple):
    """Entries of one session, from the node that owns it under `term`."""

    session_id: str
    term: int
    entries: Sequence[Entry]


@runtime_checkable
class Journal(Protocol):
    """An ability of stores: keeps the messages from which a client can resume a stream."""

    async def next_term(self) -> int:
        """Return a number higher than every one before, durably, so that a term names one ownership for ever."""
        ...

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        """Write each batch all or none, its entries in order, so that they outlive this process.

        Returns, for each batch, what kept it from being written: `Moved`, the session's stored term is higher;
        `NotFound`, the session is not there; `Misused`, it is too large for this store; or None, it is written. One
        does not touch those beside it. An entry whose stream, term and seq are there already is left as it is, so
        appending again is safe.
        """
        ...

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        """Return up to `limit` entries of a stream behind the position (term, seq), in order; (0, -1) is the start."""
        ...

    async def unfinished(self, session_id: str) -> list[OpenStream]:
        """Return the streams whose opening is kept and that no final entry closes, oldest first."""
        ...

    async def origins(self, session_id: str, first: int, last: int) -> set[int]:
        """Return which numbers from `first` to `last`, both included, are origins of entries kept of this session.

        Every append that returned before is seen, whichever process it was of. No content is read, so that whoever
        takes many sessions over can ask for each. 0 is never among the numbers.
        """
        ...

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        """Delete what exceeds `bounds`, oldest first, in bounded steps; return how many entries went."""
        ...


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
        _check_bounds(self)


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
            CursorExpired: What comes behind it is not all kept, or a power failure has taken what it is behind.
            KeyMissing: The next change is sealed under a key that is not in the key ring.
            Misused: The cursor is not one of this store's feed, or a newer version wrote the next change.
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


class DumpedEntry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An entry of the journal of a session, and its place among all entries of the store.

    `number` is from 1 to 2**62, unique in a dump, and grows in the order of writing.
    """

    session_id: str
    number: int
    entry: Entry


class DumpPage(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A part of everything that a store keeps: at most 500 records or entries, and not much more than 1 MiB.

    `term` is the last term given out, the same in every page. `damaged` are ids of sessions whose record cannot be
    read, so that it is not in the dump, nor is what belongs to it; `lost_entries` counts entries that cannot be read.
    `expected` says in the first page how many records there are, 0 when that takes too long to find out.
    """

    term: int = 0
    records: list[Record] = []
    entries: list[DumpedEntry] = []
    damaged: list[str] = []
    lost_entries: int = 0
    expected: int = 0


@runtime_checkable
class Dumped(Protocol):
    """An ability of stores: gives everything out, as it was at one moment, and takes it in."""

    def dump(self, *, journal: bool = True) -> AbstractAsyncContextManager[AsyncIterator[DumpPage]]:
        """Give pages of everything there was at the moment of entering, while others go on writing.

        What was acknowledged before that moment is in them, and no write of which an earlier one is missing. Each
        record comes once, before its entries; there is one page at least. Without `journal` there are no entries. What
        is never written (`BesideStore.hold`) is left out.

        Raises:
            Corrupt: More than single records cannot be read.
        """
        ...

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        """Take all of `pages` into this store, which is empty, as a dump gave them; terms go on above the highest.

        Entries of sessions that are not there are left out. Nobody else uses the store meanwhile. After a failure, also
        one of `pages`, it is empty; after a kill it is empty, or refuses to be opened.

        Raises:
            Misused: There is a session already. Nothing was changed.
            Corrupt: Something is there twice. Nothing was changed.
        """
        ...


async def append_to(journal: Journal, session_id: str, term: int, entries: Sequence[Entry]) -> None:
    """Append one batch.

    Raises:
        Moved, NotFound, Misused: As `Journal.append` says. Nothing was written.
    """
    (error,) = await journal.append([Batch(session_id, term, entries)])
    if error is not None:
        raise error
