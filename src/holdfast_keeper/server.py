"""One server: what it orders, and which workers are its own."""

from __future__ import annotations

import json
import time
from typing import Any, Final, Protocol

from . import wire
from .connection import Connection, Message
from .crew import Crew
from .outbox import Outbox
from .worker import Worker

FLAGS: Final = wire.RECEIPT | wire.FIRST | wire.NOTED
RELAYED: Final = frozenset({wire.FRAME, wire.CALL})


class Others(Protocol):
    """What a server asks about the other servers."""

    def claim(self, worker: Worker, server: Server, number: int) -> None:
        """Give the worker to a server as soon as it is free."""
        ...

    def free(self, worker: Worker) -> None:
        """Give a worker that was let go to whoever waits for it."""
        ...

    def unclaim(self, server: Server, number: int) -> None:
        """Take back a claim, if it is there."""
        ...

    def gone(self, worker: Worker) -> None:
        """Tell whoever waits for a worker that nothing is left of it."""
        ...

    def stop_all_of(self, server: Server, grace_s: float) -> None:
        """End the workers of a server, and those of none if there is no other server that could want them."""
        ...


class Server:
    """The keeper's end of the connection to one server."""

    def __init__(self, connection: Connection, crew: Crew, others: Others, term: int, pid: int) -> None:
        self.connection = connection
        self.outbox: Outbox = connection.outbox
        self.term = term
        self.pid = pid
        self._crew = crew
        self._others = others
        self._workers: dict[int, Worker] = {}

    def heard(self, messages: list[Message]) -> None:
        """Do what it says, in order.

        Raises:
            ValueError, KeyError, TypeError: It makes no sense; nothing after it was done.
        """
        for kind, number, payload, n in messages:
            plain = kind & ~FLAGS
            if plain in RELAYED:
                self._relay(plain, kind, number, n, payload)
            elif kind == wire.DONE:
                self._done(payload)
            else:
                self._obey(kind, number, n, json.loads(payload or b"{}"))

    def own(self, worker: Worker, number: int) -> None:
        """See `Owner.own`."""
        self._workers[number] = worker

    def give(self, worker: Worker, number: int) -> None:
        """Let it have a worker that it asked for."""
        worker.belong(self, number)
        self.outbox.add(wire.ATTACHED, number, json.dumps(worker.inventory()).encode())

    def ended(self) -> None:
        """Let go of all its workers."""
        self._crew.withdraw(self)
        workers, self._workers = self._workers, {}
        for worker in workers.values():
            if worker.owner is self:
                self._others.free(worker)

    def _relay(self, plain: int, kind: int, number: int, call: int, frame: bytes) -> None:
        worker = self._own(number)
        if worker is None:
            return
        note = frame
        if kind & wire.NOTED:
            (length,) = wire.NOTE_LENGTH.unpack_from(frame)
            at = wire.NOTE_LENGTH.size
            note, frame = frame[at : at + length], frame[at + length :]
        # No receipt for one that ends: its EXITED is the answer.
        if worker.queue(frame, bool(kind & wire.FIRST)):
            if plain == wire.CALL:
                worker.calls[call] = note, time.monotonic()
            elif call:
                worker.done(call, 0)
            self._crew.touch(worker)
            if kind & wire.RECEIPT:
                self.outbox.add(wire.ACCEPTED, number)

    def _done(self, payload: bytes) -> None:
        for number, frame, call in wire.DONE_ENTRY.iter_unpack(payload):
            worker = self._own(number)
            if worker is not None:
                worker.done(frame, call)
                if worker.over:
                    del self._workers[number]
                    self._crew.forget(worker)
                    self._others.gone(worker)

    def _obey(self, kind: int, number: int, n: int, fields: dict[str, Any]) -> None:
        worker = self._own(number)
        if kind == wire.SPAWN:
            self._crew.spawn(self, number, fields)
        elif kind == wire.STOP:
            grace_s = float(fields["grace_s"])
            if number:
                self._crew.stop(self, number, worker, grace_s)
            else:
                self._others.stop_all_of(self, grace_s)
        elif kind == wire.ATTACH:
            self._attach(number, str(fields["label"]))
        elif kind == wire.RELEASE and worker is None:
            self._others.unclaim(self, number)
        elif worker is not None:
            if kind == wire.GO:
                worker.flow()
            elif kind & ~wire.RECEIPT == wire.STAGE:
                worker.stage = n
                if kind & wire.RECEIPT:
                    self.outbox.add(wire.ACCEPTED, number)
            elif kind == wire.RELEASE:
                del self._workers[number]
                self._others.free(worker)

    def _attach(self, number: int, label: str) -> None:
        worker = self._crew.by_label.get(label)
        if worker is None:
            self.outbox.add(wire.ABSENT, number)
        else:
            self._others.claim(worker, self, number)

    def _own(self, number: int) -> Worker | None:
        worker = self._workers.get(number)
        return worker if worker is not None and worker.owner is self else None
