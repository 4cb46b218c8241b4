"""Finds and ends what workers leave behind: whoever outlived a main process, double forks included.

The keeper is the subreaper of all its descendants (prctl(2)), so whoever loses its parent becomes its child: its
children that are no main processes are the roots of all that was left behind, and nobody else needs to be looked at.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping
from typing import Protocol

from .processes import Process, Seen, children, look, marker, send_signal, tree
from .wire import MARKER
from .worker import STRAYS_S


class Leaving(Protocol):
    """A worker whose main process has ended; `family` are the processes known to be its own."""

    number: int
    pid: int
    family: set[Process]

    def family_found(self, family: set[Process]) -> None:
        """End these: they are left of it."""
        ...

    def family_gone(self) -> None:
        """Take note that nothing of it is left."""
        ...


class Strays:
    """Tells whose they are by what was seen before, by session and group, and by the marker in their environment.

    Whoever hid from all of it is nobody's: it is ended once no main process is left that could have started it.
    That is believed only of who was nobody's before, as a process shows no environment for an instant of its exec.
    """

    def __init__(self, token: str) -> None:
        self._prefix = token + "-"
        self._nobodys: set[Process] = set()
        self._ending: dict[Process, float] = {}

    def sweep(self, mains: Collection[int], leaving: Mapping[int, Leaving], everyone: Collection[int]) -> None:
        """Signal all that `leaving` workers left behind, and tell each of them whether there was any."""
        families: dict[int, set[Process]] = {number: set() for number in leaving}
        by_pid = {worker.pid: worker for worker in leaving.values()}
        nobodys: set[Process] = set()
        for pid in children(os.getpid()):
            if pid in mains or (seen := look(pid)) is None:
                continue
            number = self._owner(seen, by_pid, leaving)
            if number in families:
                families[number].update(tree([pid]))
            elif number not in everyone:
                nobodys.add(seen.process)
        unsure = not nobodys <= self._nobodys
        hidden = set() if mains else set(tree(process.pid for process in nobodys & self._nobodys))
        self._nobodys = nobodys
        self._end_hidden(hidden)
        for number, worker in tuple(leaving.items()):
            if families[number]:
                worker.family_found(families[number])
            elif not hidden and not unsure:
                worker.family_gone()

    def _owner(self, seen: Seen, by_pid: Mapping[int, Leaving], leaving: Mapping[int, Leaving]) -> int:
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
        self._ending = {process: self._ending.get(process, now) for process in hidden}
        for process, since in self._ending.items():
            if since == now:
                send_signal(process, signal.SIGTERM)
            elif now - since >= STRAYS_S:
                send_signal(process, signal.SIGKILL)
