"""Ends the server as often as a plan says, and lets the next one begin."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from typing import Final

from .marks import Marks
from .plan import End, How
from .servers import GONE_S_MAX, Server, Servers
from .world import World

MOMENT_S_MAX: Final = 1.5
READY_S_MAX: Final = 30.0


class Ender:
    """Performs ends. `began_ns` are their times, `last_state` is the world's state before the last one."""

    def __init__(self, servers: Servers, world: World, marks: Marks) -> None:
        self._servers = servers
        self._world = world
        self._marks = marks
        self.began_ns: list[int] = []
        self.last_state = 0
        self._acts: dict[How, Callable[[End], Iterator[str]]] = {
            How.KILL: self._kill,
            How.BOTH: self._kill_both,
            How.KEEPER: self._kill_keeper,
            How.PAUSE: self._pause,
            How.REPLACE: self._replace,
            How.STOP: self._stop,
        }

    def perform(self, ends: Sequence[End]) -> Iterator[str]:
        """Perform all ends in order, each but for an early one on a server that is up alone; yield what went wrong."""
        for end, then in zip(ends, [*ends[1:], None], strict=True):
            if end.early:
                continue  # it came with the one before
            if end.moment is not None:
                self._marks.wait(end.moment, end.nth, MOMENT_S_MAX)
            threading.Event().wait(end.delay_s)  # not to wait for anything: to end it somewhere else each time
            early = then if then is not None and then.early else None
            self.last_state = self._world.state
            self._world.ending(ruptures=early is not None or end.how not in (How.KEEPER, How.REPLACE))
            self.began_ns.append(time.monotonic_ns())
            if early is None:
                yield from self._acts[end.how](end)
            else:
                self._cut_short(end, early)
            self._world.settled(same_server=end.how is How.KEEPER)

    def _cut_short(self, end: End, early: End) -> None:
        """Kill the next server, and the one it was to replace, while it takes over; then start one."""
        if end.how is How.REPLACE:
            self._servers.begin("--replace")
        else:
            self._servers.kill_all()
            self._servers.begin()
        threading.Event().wait(early.delay_s)
        self._servers.kill_all()
        self._servers.start()

    def _kill(self, end: End) -> Iterator[str]:
        self._servers.kill_all()
        self._servers.start()
        yield from ()

    def _kill_both(self, end: End) -> Iterator[str]:
        self._servers.kill_keepers()
        yield from self._kill(end)

    def _kill_keeper(self, end: End) -> Iterator[str]:
        self._servers.kill_keepers()
        last = time.monotonic() + READY_S_MAX
        while not self._is_ready():
            if time.monotonic() > last:
                yield "the server to be ready again after its keeper was killed; it is not"
                return
            threading.Event().wait(0.05)

    def _is_ready(self) -> bool:
        try:
            return self._servers.client().send("GET", path="/readyz").status == 200
        except (OSError, HTTPException):
            return False

    def _pause(self, end: End) -> Iterator[str]:
        """Pause a server while another takes over; how long may be shorter than it takes to be given up."""
        old = self._servers.process
        assert old is not None
        old.send_signal(signal.SIGSTOP)
        new = self._servers.begin("--replace")
        awaken = threading.Timer(end.paused_s, old.send_signal, [signal.SIGCONT])
        awaken.start()
        self._servers.ready(new)
        self._world.came_up()
        awaken.join()
        # One that was paused while it held the lock of the store is ended, for its successor could not open it.
        yield from self._gone(old, "the paused server", codes=(0, -signal.SIGKILL))

    def _replace(self, end: End) -> Iterator[str]:
        old = self._servers.process
        assert old is not None
        self._servers.ready(self._servers.begin("--replace"))
        yield from self._gone(old, "the replaced server")

    def _stop(self, end: End) -> Iterator[str]:
        if (code := self._servers.terminate()) != 0:
            yield f"exit code 0 after SIGTERM; found {code}"
        self._servers.start()

    def _gone(self, old: Server, name: str, codes: tuple[int, ...] = (0,)) -> Iterator[str]:
        """Wait until a server that has a successor ends by itself."""
        try:
            code = old.wait(GONE_S_MAX)
        except subprocess.TimeoutExpired:
            yield f"{name} to end by itself; it still runs after {GONE_S_MAX:g} s"
            old.kill()
            old.wait()
            return
        if code not in codes:
            yield f"{name} to end with code 0; found {code}"
