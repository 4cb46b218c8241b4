"""The keeper: starts workers for servers, relays their frames, and keeps both while one server follows another.

READ FIRST. `Keeper.run` is the loop: what servers sent, what workers wrote, what is due; then everything that was
collected is written at once. Servers connect to a socket in the data directory and say HELLO with their term
(`Server` obeys them); workers belong to one server at a time (`Worker`), and `Crew` starts and buries them. Without a
server and without a worker the keeper ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from typing import Any, Final

from . import wire
from .connection import Connection, Message
from .crew import Crew
from .doors import Doors
from .lock import Lock
from .loop import READ, Loop
from .server import Server
from .worker import Worker

HELLO_S_MAX: Final = 5.0
VISITORS_MAX: Final = 64
ACCEPT_AGAIN_S: Final = 0.1
CREDENTIALS: Final = struct.Struct("3i")


class Keeper:
    """Serves one data directory.

    Invariant: its socket is there only while it holds the lock of the directory.
    """

    def __init__(self, first: socket.socket, directory: str, wakeup: int, files_max: tuple[int, int]) -> None:
        self._directory = directory
        self._wakeup = wakeup
        self._since = time.time()
        token = os.urandom(16).hex()
        self._lock = Lock(directory, token)
        self._loop = Loop()
        self._crew = Crew(self._lock, token, self._loop, files_max)
        self._doors = Doors(self._loop, self._cut_off)
        self._listener: socket.socket | None = None
        self._visitors: list[Connection] = []
        self._servers: list[Server] = []
        self._claims: dict[Worker, tuple[Server, int]] = {}
        self._term = 0
        self._stopping: list[Connection] = []
        self._loop.watch(wakeup, READ, lambda _: self._read_wakeup())
        self._welcome(first)

    def run(self) -> None:
        """Serve until no server is connected and no descendant is left."""
        self._lock.take()
        self._crew.reap()
        while self._visitors or self._servers or not self._crew.is_gone:
            if self._listener is None and self._lock.held:
                self._listen()
            self._loop.turn()
            self._crew.flush()
            for server in tuple(self._servers):
                if not server.outbox.flush():
                    server.connection.end()
            for visitor in tuple(self._visitors):  # a status may be more than a socket takes at once
                if not visitor.outbox.flush():
                    visitor.end()
        self._close()

    def _read_wakeup(self) -> None:
        os.read(self._wakeup, 4096)
        self._crew.reap()

    # --- who connects

    def _listen(self) -> None:
        """Open the socket for the next server; whatever lies there is of a keeper that is gone."""
        with self._in_directory() as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - no start should pay for pathlib
            self._listener = listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            mask = os.umask(0o177)
            listener.bind(path)
            os.umask(mask)
        listener.setblocking(False)
        listener.listen(VISITORS_MAX)
        self._watch_listener()

    def _watch_listener(self) -> None:
        assert self._listener is not None
        self._loop.watch(self._listener.fileno(), READ, lambda _: self._accept())

    @contextlib.contextmanager
    def _in_directory(self) -> Any:
        """Yield a path of the socket that is short enough however long that of the directory is (unix(7))."""
        folder = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{wire.SOCKET}"
        finally:
            os.close(folder)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            visitor, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is free; whoever waits there is looked at again in a moment
            self._loop.forget(self._listener.fileno())
            self._loop.after(ACCEPT_AGAIN_S, self._watch_listener)
            return
        visitor.set_inheritable(False)
        _, user, _ = CREDENTIALS.unpack(visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        if user not in (0, os.geteuid()) or len(self._visitors) >= VISITORS_MAX:
            visitor.close()
        else:
            self._welcome(visitor)

    def _welcome(self, visitor: socket.socket) -> None:
        connection = Connection(visitor, self._loop)
        connection.heard = lambda messages: self._greet(connection, messages)
        connection.broken = lambda why: _refuse(connection, why)
        connection.ended = lambda: self._visitors.remove(connection)
        self._visitors.append(connection)
        self._loop.after(HELLO_S_MAX, lambda: connection.end() if connection in self._visitors else None)

    def _greet(self, connection: Connection, messages: list[Message]) -> None:
        """Take the first message of whoever connects, and what came with it."""
        if not messages:
            return
        kind, _, payload, _ = messages[0]
        if kind != wire.HELLO:
            raise wire.WireError(f"message {kind} before HELLO")
        fields = json.loads(payload)
        if wire.VERSION not in fields["versions"]:
            said = f"the keeper speaks version {wire.VERSION} of its protocol, whoever connects {fields['versions']}"
            _refuse(connection, said)
            return
        role = fields["role"]
        if role == "door":
            self._visitors.remove(connection)
            self._doors.add(connection.leave_to_another(), fields)
            return
        if role == "server":
            self._greet_server(connection, int(fields["term"]), int(fields["pid"]))
            if connection.up:
                connection.heard(messages[1:])
        elif role == "operator":
            self._answer(connection, fields)
        else:
            raise wire.WireError(f"the role {role!r}")

    # --- servers

    def _greet_server(self, connection: Connection, term: int, pid: int) -> None:
        if term < self._term:
            why = (
                f"a server of term {self._term} has used it, which makes this one (term {term}) superseded; "
                "if that one is gone and had another store, end its workers first: holdfast keeper stop"
            )
            _refuse(connection, why, superseded=True)
            return
        if self._stopping:
            _refuse(connection, "it is being stopped")
            return
        self._term = term
        server = Server(connection, self._crew, self, term, pid)
        self._visitors.remove(connection)
        self._servers.append(server)
        connection.heard = server.heard
        connection.ended = lambda: self._server_ended(server)
        server.outbox.add(wire.HELLO, 0, _hello())
        for worker in self._crew.by_label.values():
            if worker.owner is None:
                _announce(worker, server)

    def _server_ended(self, server: Server) -> None:
        self._servers.remove(server)
        self._claims = {worker: claim for worker, claim in self._claims.items() if claim[0] is not server}
        server.ended()

    def _cut_off(self, term: int) -> None:
        """End the connections of every server up to this term: a newer one has taken its place."""
        for server in tuple(self._servers):
            if server.term <= term:
                server.connection.end()

    def claim(self, worker: Worker, server: Server, number: int) -> None:
        """Give a worker to a server, as soon as the one it belongs to lets go of it, unless that is a newer one."""
        owner = worker.owner
        if isinstance(owner, Server) and owner.term > server.term:
            server.outbox.add(wire.FAILED, number, json.dumps({"error": "a newer server has this session"}).encode())
            return
        before = self._claims.pop(worker, None)
        if before is not None:
            before[0].outbox.add(wire.ABSENT, before[1])
        if owner is None:
            server.give(worker, number)
        elif owner is server:  # it has ended, and its server wants another one
            server.outbox.add(wire.ABSENT, number)
        else:
            self._claims[worker] = server, number

    def unclaim(self, server: Server, number: int) -> None:
        """Take back a claim, if it is there."""
        self._claims = {worker: claim for worker, claim in self._claims.items() if claim != (server, number)}

    def stop_all_of(self, server: Server, grace_s: float) -> None:
        """End the workers of a server, and those of none if there is no other server that could want them."""
        self._crew.stop_all([server] if len(self._servers) > 1 else [server, None], grace_s)

    def gone(self, worker: Worker) -> None:
        """Tell who claimed a worker that nothing is left of it."""
        claim = self._claims.pop(worker, None)
        if claim is not None:
            claim[0].outbox.add(wire.ABSENT, claim[1])

    def free(self, worker: Worker) -> None:
        """Give a worker that was let go to whoever claimed it, or tell the newest server of it."""
        before = worker.owner
        worker.let_go()
        claim = self._claims.pop(worker, None)
        if claim is not None:
            claim[0].give(worker, claim[1])
            return
        self._crew.left_alone(worker)
        newest = max(self._servers, key=lambda server: server.term, default=None)
        if newest is not None and newest is not before:
            _announce(worker, newest)

    # --- operators

    def _answer(self, connection: Connection, fields: dict[str, Any]) -> None:
        """Do what an operator asks; who asked for the status ends the connection, and has to within `HELLO_S_MAX`."""
        using = ", ".join(str(server.pid) for server in self._servers)
        if fields["asks"] == "stop" and using:
            _refuse(connection, f"a server (pid {using}) uses it; stop that first")
            return
        connection.outbox.add(wire.HELLO, 0, _hello(**(self._status() if fields["asks"] == "status" else {})))
        if fields["asks"] == "stop":
            self._visitors.remove(connection)
            self._stopping.append(connection)
            connection.ended = _do_nothing
            self._crew.stop_all([None], float(fields["grace_s"]))
            connection.outbox.flush()

    def _status(self) -> dict[str, Any]:
        return {
            "since": self._since,
            "term": self._term,
            "servers": [{"pid": server.pid, "term": server.term} for server in self._servers],
            "workers": [_status_of(worker) for worker in self._crew.by_label.values()],
        }

    def _close(self) -> None:
        """Leave nothing behind: neither the socket nor the name of this keeper in the lock."""
        if self._listener is not None:
            with contextlib.suppress(OSError), self._in_directory() as path:
                os.unlink(path)  # noqa: PTH108 - no start should pay for pathlib
            self._listener.close()
        self._lock.forget()
        for connection in self._stopping:
            if connection.up:
                connection.outbox.add(wire.HELLO, 0, _hello())
                connection.outbox.flush()


def _hello(**more: Any) -> bytes:
    return json.dumps({"version": wire.VERSION, "pid": os.getpid(), **more}).encode()


def refusal(why: str) -> bytes:
    """Return the HELLO of a keeper that does not serve."""
    return wire.message(wire.HELLO, 0, _hello(error=why))


def _do_nothing() -> None:
    """Be called when nobody minds."""


def _refuse(connection: Connection, why: str, **more: Any) -> None:
    connection.outbox.add(wire.HELLO, 0, _hello(error=why, **more))
    connection.end()


def _announce(worker: Worker, server: Server) -> None:
    server.outbox.add(wire.ORPHAN, 0, json.dumps({"label": worker.label}).encode())


def _status_of(worker: Worker) -> dict[str, Any]:
    backlog = worker.backlog
    return {
        "label": worker.label,
        "pid": 0 if worker.reaped else worker.pid,
        "since": worker.since,
        "server": getattr(worker.owner, "pid", None),
        "stage": worker.stage,
        "calls": len(worker.calls),
        "waiting_frames": backlog.count,
        "waiting_bytes": backlog.size_bytes,
        "spilled_bytes": backlog.spilled_bytes,
    }
