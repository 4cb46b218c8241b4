"""Time that passes when the test says so."""

from __future__ import annotations


class ManualClock:
    """A `Clock` that stands still until it is advanced."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; a negative number steps back, as a wall clock that is set may."""
        self._now += seconds
