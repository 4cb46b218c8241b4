"""What all clients of a run share: whether the server is up, and the moments a kill may wait for."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

RESTART_S_MAX: Final = 60.0


class World:
    """The state of the server as its owner knows it: even while it is up, odd from just before its end.

    So whatever begins and ends under the same even state was served by that lifetime of the server alone.
    """

    def __init__(self) -> None:
        self.state = 0
        self.over = False
        self._noted: Counter[str] = Counter()
        self._changed = threading.Condition()

    def turn(self) -> None:
        """Say that the server is about to end, or that it is up again."""
        with self._changed:
            self.state += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Let every client that waits for a server stop instead."""
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def note(self, moment: str) -> None:
        """Say that a moment came."""
        with self._changed:
            self._noted[moment] += 1
            self._changed.notify_all()

    def wait_noted(self, moment: str, nth: int, within_s: float) -> bool:
        """Return once a moment has come `nth` times more, or False after `within_s` seconds."""
        with self._changed:
            wanted = self._noted[moment] + nth
            return self._changed.wait_for(lambda: self._noted[moment] >= wanted, within_s)

    def wait_up(self) -> bool:
        """Return True once a server is up, False when the load is over or none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or self.state % 2 == 0, RESTART_S_MAX)
            return not self.over and self.state % 2 == 0
