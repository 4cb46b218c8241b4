"""All workers of a keeper: started, found by their labels, and buried."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection
from typing import Any, Final

from . import wire
from .child import StartError, start
from .lock import Lock
from .loop import Loop
from .outbox import Outbox
from .room import Room
from .strays import Strays
from .worker import UNHEARD, Order, Owner, Worker

LOCK_WAIT_S: Final = 10.0
LOCK_POLL_S: Final = 0.02
PENDING_MAX: Final = 10_000
ALONE_S: Final = 2.0  # what a worker gets to end that nobody will come for
SWEEP_S: Final = 0.01
SWEEP_SHARE: Final = 10  # sweeping takes at most one part in so many of the keeper's time
WATCH_S: Final = 1.0


class Crew:
    """Starts and buries workers.

    Invariant: while there is a worker, or anything a worker started, the keeper holds the lock of the data directory.
    """

    def __init__(self, lock: Lock, token: str, loop: Loop, files_max: tuple[int, int]) -> None:
        self.by_label: dict[str, Worker] = {}
        self.childless = False
        self._lock = lock
        self._token = token
        self._loop = loop
        self._files_max = files_max
        self._room = Room()
        self._strays = Strays(token)
        self._serial = 0
        self._workers: dict[int, Worker] = {}
        self._mains: dict[int, Worker] = {}
        self._leaving: dict[int, Worker] = {}
        self._alone: dict[Worker, float] = {}
        self._touched: set[Worker] = set()
        self._pending: dict[tuple[Owner, int], tuple[float, dict[str, Any]]] = {}
        self._sweep_planned = self._watch_planned = False

    @property
    def is_gone(self) -> bool:
        """Whether no worker is left, nothing a worker started, and no end of one that a server must hear of."""
        return self.childless and not self._leaving and not self.by_label and not self._pending

    # --- workers begin

    def spawn(self, owner: Owner, number: int, order: dict[str, Any]) -> None:
        """Start a worker for `owner`, once no other keeper has anything left; how it went is told to it."""
        if self._lock.take():
            self._start(owner, number, order)
        elif len(self._pending) >= PENDING_MAX:
            _fail(owner.outbox, number, f"{PENDING_MAX} workers wait already for {self._lock.path}")
        else:
            if not self._pending:
                self._loop.after(LOCK_POLL_S, self._try_lock)
            self._pending[owner, number] = time.monotonic() + LOCK_WAIT_S, order

    def _try_lock(self) -> None:
        """Start who waits once an earlier keeper has let go, or tell those that waited for too long."""
        held, now = self._lock.take(), time.monotonic()
        for (owner, number), (deadline, order) in tuple(self._pending.items()):
            if held:
                del self._pending[owner, number]
                self._start(owner, number, order)
            elif now >= deadline:
                del self._pending[owner, number]
                why = f"another keeper, or what it started, still runs after {LOCK_WAIT_S:g} s and holds"
                _fail(owner.outbox, number, f"{why} {self._lock.path}; see `fuser -v` of that file")
        if self._pending:
            self._loop.after(LOCK_POLL_S, self._try_lock)

    def _start(self, owner: Owner, number: int, order: dict[str, Any]) -> None:
        label, place = str(order["label"]), str(order["place"])
        there = self.by_label.get(label)
        if there is not None and not there.left:
            _fail(owner.outbox, number, f"a worker of this session runs already (pid {there.pid})")
            return
        self._serial += 1
        work = f"{place}/work"
        env = {**order["env"], "HOLDFAST_SESSION_DIR": work, wire.MARKER: f"{self._token}-{self._serial}"}
        frame_bytes_max, keep_s = int(order["frame_bytes_max"]), float(order["keep_s"])
        soft, hard = self._files_max
        with contextlib.suppress(OSError):
            os.unlink(f"{place}/{UNHEARD}")  # noqa: PTH108 - of a keeper that was killed
        try:
            child = start(order["command"], work, env, (min(order.get("files_max") or soft, hard), hard))
        except StartError as error:
            _fail(owner.outbox, number, str(error))
            return
        if there is not None:
            self.forget(there)
        worker = Worker(Order(self._serial, label, place, frame_bytes_max, keep_s), child, self._loop, self._room)
        self._workers[worker.serial] = self._mains[child.pid] = self.by_label[label] = worker
        self.childless = False
        worker.belong(owner, number)
        owner.outbox.add(wire.STARTED, number, json.dumps({"pid": child.pid}).encode())

    # --- frames

    def touch(self, worker: Worker) -> None:
        """Have what waits for its stdin written at the end of this turn of the loop."""
        self._touched.add(worker)

    def flush(self) -> None:
        """Write what waits for the workers that were touched."""
        if self._touched:
            touched, self._touched = self._touched, set()
            for worker in touched:
                worker.flush()

    # --- workers end

    def stop(self, owner: Owner, number: int, worker: Worker | None, grace_s: float) -> None:
        """End a worker of `owner`, also one that waits to be started."""
        if self._pending.pop((owner, number), None) is not None:
            _fail(owner.outbox, number, "it was stopped before it was started")
        elif worker is not None:
            worker.end("it was stopped", grace_s / 2, grace_s)

    def stop_all(self, owners: Collection[Owner | None], grace_s: float) -> None:
        """End the workers of these servers, and those of none with None; nobody will hear how these end."""
        for worker in tuple(self.by_label.values()):
            if worker.owner not in owners:
                continue
            worker.end("it was stopped", grace_s / 2, grace_s)
            worker.keep_s = 0.0
            if worker.owner is None:
                self._alone[worker] = time.monotonic() + grace_s
        self._plan_watch()

    def withdraw(self, owner: Owner) -> None:
        """Start none of those that `owner`, which is gone, still waited for."""
        for key in [key for key in self._pending if key[0] is owner]:
            del self._pending[key]

    def left_alone(self, worker: Worker) -> None:
        """Note that a worker has no server from now on; without one in time it is ended."""
        self._alone[worker] = time.monotonic() + worker.keep_s
        if not worker.keep_s:
            self._give_up(worker)
        self._plan_watch()

    def _plan_watch(self) -> None:
        """Look after those that are alone in a while; one look is for all of them, however many come."""
        if self._alone and not self._watch_planned:
            self._watch_planned = True
            self._loop.after(WATCH_S, self._watch_the_alone)

    def _watch_the_alone(self) -> None:
        self._watch_planned = False
        now = time.monotonic()
        for worker, until in tuple(self._alone.items()):
            if worker.owner is not None:
                del self._alone[worker]
            elif now >= until:
                self._give_up(worker)
        self._plan_watch()

    def _give_up(self, worker: Worker) -> None:
        """End a worker that no server will come for, or forget it if that is done."""
        if worker.left:
            self.forget(worker)
        elif worker.keep_s:
            worker.unwanted = True
            worker.end(f"no server came back for it within {worker.keep_s:g} s", 0.0, ALONE_S)
        else:
            worker.end("the server ended", 0.0, ALONE_S)

    def forget(self, worker: Worker) -> None:
        """Let go of what is kept of a worker that has left."""
        worker.over = True
        worker.backlog.close()
        self._alone.pop(worker, None)
        if self.by_label.get(worker.label) is worker:
            del self.by_label[worker.label]

    def reap(self) -> None:
        """Take note of every child that ended, of strays too: they are ours since their parents ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                break
            if pid == 0:
                break
            worker = self._mains.pop(pid, None)
            if worker is not None:
                worker.main_reaped(status)
                self._leaving[worker.serial] = worker
        if self._leaving or not (self._mains or self.childless):
            self._plan_sweep(0.0)

    def _plan_sweep(self, delay_s: float) -> None:
        if not self._sweep_planned:
            self._sweep_planned = True
            self._loop.after(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._sweep_planned = False
        began = time.monotonic()
        self._strays.sweep(self._mains, self._leaving, self._workers)
        for worker in [worker for worker in self._leaving.values() if worker.left]:
            del self._leaving[worker.serial], self._workers[worker.serial]
            if worker.owner is None and worker in self._alone and not worker.keep_s:
                self.forget(worker)
        if self._leaving or not (self._mains or self.childless):
            self._plan_sweep(max(SWEEP_S, SWEEP_SHARE * (time.monotonic() - began)))


def _fail(outbox: Outbox, number: int, why: str) -> None:
    outbox.add(wire.FAILED, number, json.dumps({"error": why}).encode())
