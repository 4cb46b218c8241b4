"""What a store promises that keeps a journal: the messages from which a client can resume a stream."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from ..model.errors import HoldfastError, Misused


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
        check_bounds(self)


def check_bounds(bounds: msgspec.Struct) -> None:
    """Refuse bounds, of a journal or a feed, that are no numbers of 0 or more.

    Raises:
        Misused: One is not.
    """
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


async def append_to(journal: Journal, session_id: str, term: int, entries: Sequence[Entry]) -> None:
    """Append one batch.

    Raises:
        Moved, NotFound, Misused: As `Journal.append` says. Nothing was written.
    """
    (error,) = await journal.append([Batch(session_id, term, entries)])
    if error is not None:
        raise error
