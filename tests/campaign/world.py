"""What all clients of a run share: whether a server is up, and the moments an end may wait for."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, NamedTuple

RESTART_S_MAX: Final = 60.0


class Before(NamedTuple):
    """The world at one moment; compared with a later one by `World`."""

    state: int
    ruptures: int


class World:
    """The state of the server as its owner knows it: even while one is up alone, odd from just before its end.

    So whatever begins and ends under the same even state was served by that server alone. `ruptures` counts likewise
    what breaks connections, `servers` the servers that were up, `over` says that nothing new shall be begun.
    """

    def __init__(self) -> None:
        self.state = 0
        self.servers = 0
        self.over = False
        self._ruptures = 0
        self._up = True
        self._noted: Counter[str] = Counter()
        self._changed = threading.Condition()

    def ending(self, *, ruptures: bool) -> None:
        """Say that the server is about to end; unless that breaks connections, clients go on all the while."""
        with self._changed:
            self.state += 1
            if ruptures:
                self._ruptures += 1
                self._up = False

    def came_up(self) -> None:
        """Say that clients can be served again, though the last server may not be gone."""
        with self._changed:
            self._up = True
            self._changed.notify_all()

    def settled(self, *, same_server: bool = False) -> None:
        """Say that one server is up alone."""
        with self._changed:
            self.state += 1
            self.servers += not same_server
            self._ruptures += self._ruptures % 2
            self._up = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Let every client finish what it has begun and begin nothing new."""
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
        """Return True once a server is up, False when none comes."""
        with self._changed:
            return self._changed.wait_for(lambda: self._up, RESTART_S_MAX)

    def wait_to_begin(self) -> bool:
        """Return True once a server is up, False when the load is over or none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or self._up, RESTART_S_MAX)
            return not self.over and self._up

    def now(self) -> Before:
        """Return what is to be compared later."""
        return Before(self.state, self._ruptures)

    def server_since(self, before: Before) -> int | None:
        """Return the number of the server that surely served all the time since, or None."""
        return self.servers if before.state == self.state and self.state % 2 == 0 else None

    def is_whole_since(self, before: Before) -> bool:
        """Return whether no connection may have broken since."""
        return before.ruptures == self._ruptures and self._ruptures % 2 == 0
