"""Moves idle HTTP connections to the server that takes this one's place, so that their clients notice nothing.

A connection travels as a descriptor over a Unix socket, the channel (SOCK_SEQPACKET, one connection a message). The
system's own state of it, with what the client has sent meanwhile, stays as it is: neither end is told of anything.
Source: unix(7), "SCM_RIGHTS".
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Collection
from typing import Final, Protocol

from ..runtime import spawn

_log = logging.getLogger(__name__)

FRESH: Final = b"f"  # it has had no request yet
KEPT: Final = b"k"  # it waits for one after another

LOOKED_AT_A_SLICE: Final = 500
TAKEN_AT_ONCE: Final = 32
FULL_S: Final = 0.01  # how long a full channel is left alone; what it holds is taken within that
SETTLE_POLL_S: Final = 0.005
FULL: Final = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})


class Movable(Protocol):
    """A connection as far as moving it needs it."""

    @property
    def is_between_requests(self) -> bool:
        """Whether no byte of a request has been read that is not answered, and every byte of the answers is sent."""
        ...

    @property
    def may_bring_a_request(self) -> bool:
        """Whether a request may come of it that has not been read whole by now."""
        ...

    @property
    def has_served(self) -> bool:
        """Whether it has had a request."""
        ...

    def fileno(self) -> int:
        """Return its descriptor."""
        ...

    def prepare_to_leave(self) -> None:
        """Offer itself to its departure from now on, whenever it may have come between two requests."""
        ...

    def let_go(self) -> None:
        """Forget the connection without a word to the client."""
        ...

    def close_soon(self) -> None:
        """End the connection with the answer to the request under way, telling the client so."""
        ...


class Departure:
    """Sends connections to another process, each as soon as it is between two requests.

    Before `begin` it does nothing. `is_under_way` from then on until the channel ends; then `is_cut_off`: this process
    serves on, and each connection ends with its next answer.
    """

    def __init__(self) -> None:
        self.is_under_way = self.is_cut_off = False
        self._channel: socket.socket | None = None
        self._connections: Collection[Movable] = ()
        self._waiting: dict[Movable, None] = {}
        self._emptied: asyncio.Event | None = None

    async def begin(self, channel: socket.socket, connections: Collection[Movable]) -> None:
        """Send all `connections`, a collection that goes on changing, over `channel`, which is closed at the end."""
        channel.setblocking(False)
        self._channel, self._connections, self.is_under_way = channel, connections, True
        asyncio.get_running_loop().add_reader(channel, self._read_channel)
        for number, connection in enumerate(list(connections), 1):
            if number % LOOKED_AT_A_SLICE == 0:
                await asyncio.sleep(0)
            connection.prepare_to_leave()

    def offer(self, connection: Movable) -> None:
        """Send `connection` if it can go now; when the channel is full it waits for that, and is served meanwhile."""
        if self._channel is None or not connection.is_between_requests:
            return
        if self._waiting and connection not in self._waiting:
            self._waiting[connection] = None
            return
        try:
            kind = KEPT if connection.has_served else FRESH
            socket.send_fds(self._channel, [kind], [connection.fileno()])
        except OSError as error:
            if error.errno not in FULL:
                self._end(str(error))
                return
            if not self._waiting:
                asyncio.get_running_loop().call_later(FULL_S, self._offer_waiting)
            self._waiting[connection] = None
            return
        # Invariant: from the sending on not a byte is read here, for it would be missing there.
        connection.let_go()

    async def settle(self, within_s: float) -> None:
        """Return when no more requests come, for whoever is still here has one under way, or after `within_s` seconds.

        Until then every request that comes must be served.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        while loop.time() < ends_at:
            if not any(connection.may_bring_a_request for connection in self._connections):
                break
            await asyncio.sleep(SETTLE_POLL_S)
        await asyncio.sleep(0)  # whoever was read last is begun

    async def finish(self, within_s: float) -> None:
        """Return when every connection is gone, or after `within_s` seconds."""
        if self._connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._emptied.wait()

    def note_lost(self) -> None:
        """Take note that a connection is gone, and no more among the others."""
        if self._emptied is not None and not self._connections:
            self._emptied.set()

    def close(self) -> None:
        """Close the channel: no more comes."""
        if self._channel is not None:
            self._close(self._channel)

    def _offer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            self.offer(connection)

    def _read_channel(self) -> None:
        """Notice the end of the other side, which says nothing."""
        assert self._channel is not None
        try:
            said = self._channel.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        if not said:
            self._end("it ended")

    def _end(self, why: str) -> None:
        assert self._channel is not None
        self._close(self._channel)
        self.is_cut_off = True
        _log.warning("the server that takes this one's place takes no connections: %s", why)
        for connection in tuple(self._connections):
            connection.close_soon()

    def _close(self, channel: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(channel)
        channel.close()
        self._channel, self.is_under_way = None, False
        self._waiting.clear()


class Arrivals:
    """Takes over the connections that come through `channel` until the process at its other end closes it.

    `make` gives each a protocol, told whether it has had a request already; it goes on as if it had been accepted here.
    """

    def __init__(self, channel: socket.socket, make: Callable[[bool], asyncio.Protocol]) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._read_channel)

    def close(self) -> None:
        """Take no more; nothing happens when the channel has ended."""
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._channel.close()

    def _read_channel(self) -> None:
        for _ in range(TAKEN_AT_ONCE):
            try:
                kind, found, _, _ = socket.recv_fds(self._channel, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                kind, found = b"", []
            if not kind:
                self.close()
                return
            if not found:
                _log.error("a client's connection was lost: this process may have no more descriptors")
            for descriptor in found:
                spawn(self._take(socket.socket(fileno=descriptor), kind == KEPT), name="take over a connection")

    async def _take(self, connection: socket.socket, is_kept: bool) -> None:
        connection.setblocking(False)
        connection.set_inheritable(False)
        try:
            await self._loop.connect_accepted_socket(lambda: self._make(is_kept), connection)
        except OSError as error:
            connection.close()
            _log.info("a client left while its connection was taken over: %s", error)
