"""The keeper: starts workers for the server at the other end of a socket, relays their frames, and buries them.

READ FIRST. `Keeper.run` is the loop: what the server sent, what workers wrote, what is due; then everything that was
collected is written at once. When the server's socket closes, every descendant is ended before this process exits.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Final

from . import wire
from .child import StartError, start
from .lock import Lock
from .loop import READ, Loop
from .outbox import Outbox
from .strays import Strays
from .worker import Worker

CHUNK_BYTES: Final = 64 * 1024  # more would come from mmap(2) and go back to it, at every read
LOCK_WAIT_S: Final = 10.0
LOCK_POLL_S: Final = 0.02
PENDING_MAX: Final = 10_000
SERVER_GONE_S: Final = 2.0
SWEEP_S: Final = 0.01
SWEEP_SHARE: Final = 10  # sweeping takes at most one part in so many of the keeper's time


class Keeper:
    """Owns the workers of one server.

    Invariant: while it runs with a worker or anything a worker started, it holds the lock of the data directory.
    """

    def __init__(self, fd: int, directory: str, wakeup: int, files_max: tuple[int, int]) -> None:
        self._fd = fd
        self._wakeup = wakeup
        self._files_max = files_max
        self._token = os.urandom(16).hex()
        self._lock = Lock(directory, self._token)
        self._loop = Loop()
        self._outbox = Outbox(fd, self._loop)
        self._splitter = wire.Splitter()
        self._strays = Strays(self._token)
        self._workers: dict[int, Worker] = {}
        self._mains: dict[int, Worker] = {}
        self._leaving: dict[int, Worker] = {}
        self._touched: set[Worker] = set()
        self._pending: dict[int, tuple[float, dict[str, Any]]] = {}
        self._greeted = self._server_gone = self._childless = False
        self._sweep_planned = False
        self._loop.watch(fd, READ, self._read_server)
        self._loop.watch(wakeup, READ, self._read_wakeup)

    def run(self) -> None:
        """Serve until the server is gone and no descendant is left."""
        self._lock.take()
        self._reap()
        while not (self._server_gone and self._childless and not self._leaving):
            self._loop.turn()
            if self._touched:
                touched, self._touched = self._touched, set()
                for worker in touched:
                    worker.flush()
            if not self._outbox.flush():
                self._end_all()
        self._lock.forget()

    # --- the server

    def _read_server(self, _: int) -> None:
        try:
            chunk = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._end_all()
            return
        try:
            for kind, number, payload in self._splitter.feed(chunk):
                plain = kind & ~wire.FIRST
                if plain in (wire.FRAME, wire.FRAME_RECEIPT):
                    self._relay(plain, number, payload, kind != plain)
                else:
                    self._obey(kind, number, payload)
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(f"the keeper does not understand the server: {error!r}")

    def _relay(self, kind: int, number: int, payload: bytes, first: bool) -> None:
        worker = self._workers.get(number)
        # No receipt for one that ends: its EXITED is the answer.
        if worker is not None and worker.queue(payload, first):
            self._touched.add(worker)
            if kind == wire.FRAME_RECEIPT:
                self._outbox.add(wire.ACCEPTED, number)

    def _obey(self, kind: int, number: int, payload: bytes) -> None:
        fields = json.loads(payload)
        if not self._greeted:
            self._greet(kind, fields)
        elif kind == wire.SPAWN:
            self._spawn(number, fields)
        elif kind == wire.STOP:
            self._stop(number, float(fields["grace_s"]))
        else:
            raise wire.WireError(f"message of kind {kind}")

    def _greet(self, kind: int, fields: dict[str, Any]) -> None:
        if kind != wire.HELLO or fields["version"] != wire.VERSION:
            said = f"version {fields['version']}" if kind == wire.HELLO else f"message {kind} before HELLO"
            self._refuse(f"the keeper speaks version {wire.VERSION} of its protocol, the server {said}")
            return
        self._greeted = True
        self._outbox.add(wire.HELLO, 0, hello())

    def _refuse(self, why: str) -> None:
        self._outbox.add(wire.HELLO, 0, hello(why))
        self._outbox.flush()
        self._end_all()

    # --- workers begin

    def _spawn(self, number: int, fields: dict[str, Any]) -> None:
        if self._lock.take():
            self._start(number, fields)
        elif len(self._pending) >= PENDING_MAX:
            self._fail(number, f"{PENDING_MAX} workers wait already for {self._lock.path}")
        else:
            if not self._pending:
                self._loop.after(LOCK_POLL_S, self._try_lock)
            self._pending[number] = time.monotonic() + LOCK_WAIT_S, fields

    def _try_lock(self) -> None:
        """Start who waits once an earlier keeper has let go, or tell those that waited for too long."""
        held, now = self._lock.take(), time.monotonic()
        for number, (deadline, fields) in tuple(self._pending.items()):
            if held:
                del self._pending[number]
                self._start(number, fields)
            elif now >= deadline:
                del self._pending[number]
                self._fail(number, f"another keeper, or what it started, still runs after {LOCK_WAIT_S:g} s and holds "
                                   f"{self._lock.path}; see `fuser -v` of that file")  # fmt: skip
        if self._pending:
            self._loop.after(LOCK_POLL_S, self._try_lock)

    def _start(self, number: int, fields: dict[str, Any]) -> None:
        place, work = fields["place"], f"{fields['place']}/work"
        env = {**fields["env"], "HOLDFAST_SESSION_DIR": work, wire.MARKER: f"{self._token}-{number}"}
        try:
            soft, hard = self._files_max
            asked = fields.get("files_max") or soft
            child = start(fields["command"], work, env, (min(asked, hard), hard))
        except StartError as error:
            self._fail(number, str(error))
            return
        worker = Worker(number, child, place, int(fields["frame_bytes_max"]), self._loop, self._outbox)
        self._workers[number] = self._mains[child.pid] = worker
        self._childless = False
        self._outbox.add(wire.STARTED, number, json.dumps({"pid": child.pid}).encode())

    def _fail(self, number: int, why: str) -> None:
        self._outbox.add(wire.FAILED, number, json.dumps({"error": why}).encode())

    # --- workers end

    def _stop(self, number: int, grace_s: float) -> None:
        if self._pending.pop(number, None) is not None:
            self._fail(number, "it was stopped before it was started")
        elif (worker := self._workers.get(number)) is not None:
            worker.end("it was stopped", grace_s / 2, grace_s)

    def _end_all(self) -> None:
        """End everything, because nobody is there to speak to."""
        if self._server_gone:
            return
        self._server_gone = True
        self._loop.forget(self._fd)
        self._outbox.close()
        os.close(self._fd)
        self._pending.clear()
        for worker in tuple(self._mains.values()):
            worker.end("the server ended", 0.0, SERVER_GONE_S)
        self._plan_sweep(0.0)

    def _read_wakeup(self, _: int) -> None:
        os.read(self._wakeup, 4096)
        self._reap()

    def _reap(self) -> None:
        """Take note of every child that ended, of strays too: they are ours since their parents ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._childless = True
                break
            if pid == 0:
                break
            worker = self._mains.pop(pid, None)
            if worker is not None:
                worker.main_reaped(status)
                self._leaving[worker.number] = worker
        if self._leaving:
            self._plan_sweep(0.0)

    def _plan_sweep(self, delay_s: float) -> None:
        if not self._sweep_planned:
            self._sweep_planned = True
            self._loop.after(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._sweep_planned = False
        began = time.monotonic()
        self._strays.sweep(self._mains, self._leaving, self._workers)
        for number in [number for number, worker in self._leaving.items() if worker.left]:
            del self._leaving[number], self._workers[number]
        if self._leaving or self._server_gone:
            self._plan_sweep(max(SWEEP_S, SWEEP_SHARE * (time.monotonic() - began)))


def hello(error: str | None = None) -> bytes:
    """Return what HELLO says; `error` is why this keeper refuses."""
    return json.dumps({"version": wire.VERSION, **({} if error is None else {"error": error})}).encode()
