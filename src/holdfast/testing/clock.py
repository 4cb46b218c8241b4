"""Time that passes when the test says so."""

from __future__ import annotations

from ..model.errors import Misused


class ManualClock:
    """A `Clock` that stands still until it is advanced."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass.

        Raises:
            Misused: They are negative: a `Clock` never runs backwards. A second clock may be behind the first.
        """
        if seconds < 0:
            raise Misused(f"a clock never runs backwards; make another one that is {-seconds} s behind")
        self._now += seconds
