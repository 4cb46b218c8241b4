"""Cursors of feeds, and of passes through the past: the same in every store that keeps a log."""

from __future__ import annotations

import re
import zlib
from typing import Final, NamedTuple

from ..model.errors import CursorExpired, Misused

_CURSOR: Final = re.compile(r"([0-9a-f]{16})\.(\d{1,19})\.([0-9a-f]{8})", re.ASCII)
_N_MAX: Final = 2**63 - 1


class FeedCursor(NamedTuple):
    """Behind change number `n` of the feed named `store`; `mark` says which change that was.

    After a power failure has taken the last changes, others get their numbers: the mark tells whoever had seen those.
    """

    store: str
    n: int
    mark: int

    def __str__(self) -> str:
        return f"{self.store}.{self.n}.{self.mark:08x}"


def cursor_from(text: str) -> FeedCursor:
    """Return the cursor that `text` is.

    Raises:
        Misused: It is none.
    """
    found = _CURSOR.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2]) > _N_MAX:
        raise Misused("this is not a cursor of a feed; pass one that it returned")
    return FeedCursor(found[1], int(found[2]), int(found[3], 16))


def mark_of(session_id: str, at: float, kind: int) -> int:
    """Return the mark of a change."""
    return zlib.crc32(f"{session_id}\0{at!r}\0{kind}".encode(errors="surrogatepass"))


def elsewhere() -> CursorExpired:
    """Return the error of whoever followed another feed: mostly that of this store before it was restored."""
    return CursorExpired(
        "this cursor is of another feed: the store was restored or repaired since, or it is another store; take the "
        "feed's position, read everything, and follow from that position"
    )


def expired(*, lost: bool) -> CursorExpired:
    """Return the error of whoever was away for too long, or has seen what a power failure took since."""
    what = "not all behind this cursor is kept any more"
    if lost:
        what = "a power failure, or whoever restored the store, took what this cursor is behind"
    return CursorExpired(f"{what}; take the feed's position, read everything, and follow from that position")


def too_early(at: float, horizon: float) -> Misused:
    """Return the error of whoever asks for a moment of which not all is known."""
    return Misused(f"what there was at {at:.3f} is not known any more; the earliest moment is {horizon:.3f}")
