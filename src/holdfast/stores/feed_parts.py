"""In which parts a feed goes: the rule, for every store that keeps a log.

A part is given up whole, so that what was before a change need be kept with it only where it was written in an earlier
part: whatever moment can still be asked for, either the change before is there, or what it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .contract import FeedBounds

_PARTS: Final = 24


class Part(NamedTuple):
    """Changes from number `first` on: the earliest moment of one (None: there is none), the latest, and their bytes."""

    first: int
    began_at: float | None = None
    ended_at: float = 0.0
    size_bytes: int = 0

    def with_step(self, began_at: float, ended_at: float, size_bytes: int) -> Part:
        """Return it with what was measured in it since."""
        began_at = began_at if self.began_at is None else self.began_at
        return Part(self.first, began_at, max(self.ended_at, ended_at), self.size_bytes + size_bytes)

    def is_full(self, bounds: FeedBounds, now: float) -> bool:
        """Tell whether another one is to begin."""
        if self.began_at is None:
            return False
        return now - self.began_at >= bounds.age_s_max / _PARTS or self.size_bytes >= bounds.bytes_max / _PARTS


def given_up(parts: Sequence[Part], bounds: FeedBounds, now: float) -> int:
    """Return how many of `parts`, oldest first, are to go; never the last, which is being written."""
    kept_bytes = sum(part.size_bytes for part in parts)
    for at, part in enumerate(parts[:-1]):
        if part.ended_at > now - bounds.age_s_max and kept_bytes <= bounds.bytes_max:
            return at
        kept_bytes -= part.size_bytes
    return max(len(parts) - 1, 0)
