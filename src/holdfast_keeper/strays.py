"""Finds and ends what workers leave behind: whoever outlived a main process, double forks included.

The keeper is the subreaper of all its descendants (prctl(2)), so whoever loses its parent becomes its child: its
children that are no main processes are the roots of all that was left behind, and nobody else needs to be looked at.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping

from .processes import Process, Seen, children, look, marker, send_signal, tree
from .wire import MARKER
from .worker import STRAYS_S, Worker


class Strays:
    """Tells whose they are by what was seen before, by session and group, and by the marker in their environment.

    Whoever hid from all of it is nobody's: it is ended once no main process is left that could have started it.
    """

    def __init__(self, token: str) -> None:
        self._prefix = token + "-"
        self._nobodys: dict[Process, float] = {}

    def sweep(self, mains: Collection[int], leaving: Mapping[int, Worker], everyone: Mapping[int, Worker]) -> None:
        """Signal all that `leaving` workers left behind, and tell each of them whether there was any."""
        families: dict[int, set[Process]] = {number: set() for number in leaving}
        by_pid = {worker.pid: worker for worker in leaving.values()}
        hidden: set[Process] = set()
        for pid in children(os.getpid()):
            if pid in mains or (seen := look(pid)) is None:
                continue
            number = self._owner(seen, by_pid, leaving)
            if number in families:
                families[number].update(tree([pid]))
            elif number not in everyone and not mains:
                hidden.update(tree([pid]))
        self._end_hidden(hidden)
        for number, worker in tuple(leaving.items()):
            if families[number]:
                worker.family_found(families[number])
            elif not hidden:
                worker.family_gone()

    def _owner(self, seen: Seen, by_pid: Mapping[int, Worker], leaving: Mapping[int, Worker]) -> int:
        """Return the number of the worker that started it, or -1."""
        worker = by_pid.get(seen.session) or by_pid.get(seen.group)
        if worker is not None:
            return worker.number
        value = marker(seen.process.pid, MARKER)
        if value.startswith(self._prefix) and (number := value[len(self._prefix) :]).isdigit():
            return int(number)
        return next((worker.number for worker in leaving.values() if seen.process in worker.family), -1)

    def _end_hidden(self, hidden: set[Process]) -> None:
        now = time.monotonic()
        self._nobodys = {process: self._nobodys.get(process, now) for process in hidden}
        for process, since in self._nobodys.items():
            if since == now:
                send_signal(process, signal.SIGTERM)
            elif now - since >= STRAYS_S:
                send_signal(process, signal.SIGKILL)
