"""This server's door at the keeper: how it takes the place of another server, and how the next one takes its own.

The keeper has a duplicate of the listener of whoever serves (`holdfast_keeper.doors`), so that a server that hangs can
be replaced too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import time
from pathlib import Path
from typing import Final, Self

import msgspec

from holdfast_keeper import wire

from ..model import HoldfastError, Misused, Unavailable
from ..wiring import connect_to_keeper
from .data_dir import DataDir

_log = logging.getLogger(__name__)

ANSWERS_S: Final = 5.0
OPENED_AGAIN_S: Final = 0.25
TRIES: Final = 50
TRY_EVERY_S: Final = 0.1
READ_BYTES: Final = 4096


class Answer(msgspec.Struct):
    """What the keeper says first: whether a listener is attached, and the pids of the servers that serve."""

    listener: bool = False
    serving: list[int] = []
    error: str = ""


class Door:
    """A connection to the keeper of a data directory; what came through it and is not taken ends with it.

    `serving` are the pids of the servers that the keeper knows to serve, and `replaced` those whose place is taken.
    """

    def __init__(self, end: socket.socket, listener: socket.socket | None, serving: list[int]) -> None:
        self.end = end
        self.listener = listener
        self.serving = serving
        self.replaced: list[int] = []

    @classmethod
    def open(cls, data: Path, address: str | None = None) -> Self | None:
        """Open a door, and ask for the listener at `address`; None when there is no keeper. It blocks, bounded.

        Raises:
            Misused: The keeper is somebody else's.
            Unavailable: It does not answer as it should.
        """
        end = connect_to_keeper(data)
        if end is None:
            return None
        end.settimeout(ANSWERS_S)
        hello = {"versions": [wire.VERSION], "role": "door", "pid": os.getpid(), "address": address}
        try:
            end.sendall(wire.message(wire.HELLO, 0, msgspec.json.encode(hello)))
            said, listener = _read(end)
            answer = msgspec.json.decode(said[0][1], type=Answer)
        except (OSError, IndexError, msgspec.MsgspecError, wire.WireError) as error:
            end.close()
            raise Unavailable(f"the keeper does not answer as it should: {error}") from error
        if answer.error:
            end.close()
            raise Unavailable(f"the keeper cannot be used: {answer.error}")
        return cls(end, listener, answer.serving)

    def close(self) -> None:
        """Let the keeper know that this server is gone."""
        self.end.close()
        if self.listener is not None:
            self.listener.close()


def door_to(data: DataDir, host: str, port: int, *, replaces: bool) -> Door | None:
    """Lock `data` and return a door, or None when there is no keeper; the listener at this address may come with it.

    With `replaces` and a server that serves there, `data` is locked when that one is gone. It blocks, for `TRIES` times
    `TRY_EVERY_S` and what one takes.

    Raises:
        Misused: A server uses `data` that shall not or cannot be replaced, or what `DataDir.lock` finds.
        Unavailable: The keeper does not answer as it should.
    """
    address = address_of(host, port)
    for _ in range(TRIES if replaces else 1):
        if data.lock():
            # The keeper may not know yet that the last server is gone, and keep its port.
            with contextlib.suppress(Unavailable):
                return Door.open(data.path, address)
            return None
        door = Door.open(data.path, address) if replaces else None
        if door is not None:
            if door.serving:
                data.lock_when_free()
                door.replaced = door.serving
                return door
            door.close()
        time.sleep(TRY_EVERY_S)
    used = f"the data directory {data.path} is in use by another server (pid {data.user})"
    if replaces:
        raise Misused(f"{used} that does not serve: it is starting or stopping, or its keeper is gone; try again")
    raise Misused(f"{used}; stop it, take its place with --replace, or choose another --data")


class Neighbours:
    """Who serves before and after this process; `predecessor` is the channel that its connections come through.

    `door` is used when one is open already. The keeper is told `address` and `term`, and when this server leaves, that
    it is gone after `within_s` seconds at the latest. `superseded` tells that the keeper has cut this server off.
    """

    def __init__(
        self,
        data: Path,
        listener: socket.socket,
        *,
        term: int,
        within_s: float,
        superseded: asyncio.Event,
        door: Door | None,
    ) -> None:
        self.predecessor, self._channel = _channel()
        self._data = data
        self._listener = listener.dup()
        self._serving = msgspec.json.encode({"term": term, "address": address_of(*listener.getsockname()[:2])})
        self._leaving = msgspec.json.encode({"within_s": within_s})
        self._superseded = superseded
        self._door = door

    def close(self) -> None:
        """Let the keeper know that this server is gone."""
        self._listener.close()
        self._channel.close()
        if self._door is not None:
            self._door.close()

    async def successor(self) -> socket.socket | None:
        """Say that this server serves; return the channel for its connections once another takes its place.

        It is None when that one came while nobody could ask this one to leave. While there is no keeper, nobody can; it
        is looked for again and again.
        """
        while not self._superseded.is_set():
            if self._door is None:
                with contextlib.suppress(HoldfastError, OSError):
                    if self._channel.fileno() < 0:  # it went with the keeper before; who served then has left by now
                        ours, self._channel = _channel()
                        ours.close()
                    self._door = await asyncio.to_thread(Door.open, self._data)
            if self._door is not None:
                channel = await self._until_asked(self._door)
                if channel is not None:
                    return channel
                self._door.close()
                self._door = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._superseded.wait(), OPENED_AGAIN_S)
        return None

    async def _until_asked(self, door: Door) -> socket.socket | None:
        """Serve behind this door; return the channel, or None when the keeper ends."""
        door.end.setblocking(False)
        loop = asyncio.get_running_loop()
        said = asyncio.Event()
        loop.add_reader(door.end, said.set)
        try:
            with self._channel:
                _say(door.end, wire.SERVING, self._serving, self._listener, self._channel)
            await said.wait()
            messages, channel = _read(door.end)
            if messages and messages[0][0] == wire.LEAVE and channel is not None:
                with contextlib.suppress(OSError):  # cut off already; what the channel is for can be done all the same
                    _say(door.end, wire.LEAVING, self._leaving)
                return channel
        except (OSError, wire.WireError) as error:
            _log.debug("the door at the keeper is shut: %s", error)
        finally:
            loop.remove_reader(door.end)
        return None


def address_of(host: str, port: int) -> str:
    """Return how an address is called at the keeper, however it was written."""
    return f"{ipaddress.ip_address('127.0.0.1' if host == 'localhost' else host)} {port}"


def _channel() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _say(end: socket.socket, kind: int, payload: bytes, *given: socket.socket) -> None:
    socket.send_fds(end, [wire.message(kind, 0, payload)], [one.fileno() for one in given])


def _read(end: socket.socket) -> tuple[list[tuple[int, bytes]], socket.socket | None]:
    """Return what is said, and the socket that comes with it."""
    chunk, descriptors, _, _ = socket.recv_fds(end, READ_BYTES, 1)
    given = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for one in given:
        one.set_inheritable(False)
    return [(kind, payload) for kind, _, payload, _ in wire.Splitter().feed(chunk)], given[0] if given else None
