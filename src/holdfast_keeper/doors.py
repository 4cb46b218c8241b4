"""How one server takes the place of another on the machine, without a moment in which nobody listens."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from . import wire
from .loop import READ, Loop

DOORS_MAX: Final = 16
READ_BYTES: Final = 4096
GIVEN_MAX: Final = 2
LEAVES_S_MAX: Final = 2.0
GONE_S_MAX: Final = 24 * 3600.0


class Doors:
    """Every server has a door here besides its connection for workers, and gives it a duplicate of its listener.

    Who asks for an address gets the newest listener at it, also when the server it is from hangs. Who says SERVING
    takes the place of all that serve: they are asked to leave, and `cut_off` is called with the term of one that does
    not answer within `LEAVES_S_MAX`, or is not gone when it said it would be. What a server gave ends with its door.
    """

    def __init__(self, loop: Loop, cut_off: Callable[[int], None]) -> None:
        self._loop = loop
        self._cut_off = cut_off
        self._doors: list[_Door] = []

    def add(self, end: socket.socket, hello: dict[str, Any]) -> None:
        """Answer the HELLO of a door and hear it from now on; `end` does not block."""
        door = _Door(end, hello.get("pid"))
        self._doors.append(door)
        self._loop.watch(end.fileno(), READ, lambda _: self._read(door))
        if len(self._doors) > DOORS_MAX:
            door.say(wire.HELLO, _hello(error=f"{DOORS_MAX} servers use this keeper, as many as may"))
            self._end(door)
            return
        wanted = hello.get("address")
        found = [one for one in self._doors if one.listener is not None and one.address == wanted]
        given = [one.listener for one in found[-1:] if one.listener is not None]
        serving = [one.pid for one in self._doors if one.serves and not one.asked]
        if not door.say(wire.HELLO, _hello(listener=bool(given), serving=serving), given):
            self._end(door)

    def _read(self, door: _Door) -> None:
        try:
            for kind, payload in door.read():
                if kind == wire.SERVING:
                    self._serve(door, json.loads(payload))
                elif kind == wire.LEAVING:
                    self._leave(door, float(json.loads(payload)["within_s"]))
                else:
                    raise wire.WireError(f"message {kind} from a door")
        except BlockingIOError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._end(door)

    def _serve(self, door: _Door, fields: dict[str, Any]) -> None:
        """Let a server take the place of those before it, unless a newer one did already."""
        term, address = int(fields["term"]), str(fields["address"])
        serving = [one for one in self._doors if one.serves and one is not door]
        if any(one.term > term for one in serving):
            raise wire.WireError("a newer server serves")
        listener, channel = door.take_two()
        door.term, door.address, door.listener = term, address, listener
        try:
            for one in serving:
                if not one.asked:
                    one.asked = True
                    one.say(wire.LEAVE, b"", [channel])
                    self._loop.after(LEAVES_S_MAX, partial(self._look, one))
        finally:
            os.close(channel)

    def _look(self, door: _Door) -> None:
        """Give up a server that has not answered; what it was sent stays there for it to read."""
        if not door.leaves:
            self._give_up(door)

    def _leave(self, door: _Door, within_s: float) -> None:
        """Take note that a server leaves, and see to it that it is gone in time."""
        if door.asked and not door.leaves:
            door.leaves = True
            self._loop.after(min(within_s, GONE_S_MAX), partial(self._give_up, door))

    def _give_up(self, door: _Door) -> None:
        if door in self._doors:
            self._cut_off(door.term)
            self._end(door)

    def _end(self, door: _Door) -> None:
        if door in self._doors:
            self._doors.remove(door)
            self._loop.forget(door.end.fileno())
            door.close()


class _Door:
    """One server's connection; `asked` to leave, it says whether it `leaves`."""

    def __init__(self, end: socket.socket, pid: object) -> None:
        self.end = end
        self.pid = pid
        self.term = 0
        self.address: str | None = None
        self.listener: int | None = None
        self.asked = self.leaves = False
        self._splitter = wire.Splitter()
        self._given: list[int] = []

    @property
    def serves(self) -> bool:
        """Whether it has said so."""
        return self.listener is not None

    def say(self, kind: int, payload: bytes, descriptors: list[int] | None = None) -> bool:
        """Send one message; return whether it went, which it does to anyone who reads."""
        said = wire.message(kind, 0, payload)
        try:
            return socket.send_fds(self.end, [said], descriptors or []) == len(said)
        except OSError:
            return False

    def read(self) -> list[tuple[int, bytes]]:
        """Return what is said.

        Raises:
            OSError: Nothing more comes; or nothing now, when it is a BlockingIOError.
            WireError: It makes no sense.
        """
        chunk, descriptors, flags, _ = socket.recv_fds(self.end, READ_BYTES, GIVEN_MAX)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # a worker that had it would keep the port
        self._given += descriptors
        if len(self._given) > GIVEN_MAX or flags & socket.MSG_CTRUNC:
            raise wire.WireError("more descriptors than a door has to give")
        if not chunk:
            raise ConnectionResetError("the server ended")
        return [(kind, payload) for kind, _, payload, _ in self._splitter.feed(chunk)]

    def take_two(self) -> tuple[int, int]:
        """Return the descriptors that came.

        Raises:
            ValueError: They are not two, or it has given a listener before.
        """
        if self.serves:
            raise wire.WireError("a door serves once")
        listener, channel = self._given
        self._given = []
        return listener, channel

    def close(self) -> None:
        """Close the socket and all that came through it."""
        self.end.close()
        for descriptor in (*self._given, *(() if self.listener is None else (self.listener,))):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._given, self.listener = [], None


def _hello(**fields: Any) -> bytes:
    return json.dumps({"version": wire.VERSION, "pid": os.getpid(), **fields}).encode()
