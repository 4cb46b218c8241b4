"""The socket to one keeper process, as an asyncio protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from typing import Final, Protocol, cast

import msgspec

from holdfast_keeper import wire

from ..model.errors import Misused, Unavailable

WAITING_BYTES_MAX: Final = 64 * 2**20
PROMPT_MESSAGES: Final = 8  # so many go out at once: workers begin while the server still reads other requests
FULL_BYTES: Final = 16 * 2**20  # more than one large frame, which alone must not make every worker refuse
DONE_WITHIN_S: Final = 0.02  # that something is done can wait for the next message, for that long


class Peer(Protocol):
    """One worker's end of the link."""

    def frame(self, payload: bytes, number: int) -> None:
        """Take a frame it wrote, and its number."""
        ...

    def told(self, kind: int, payload: bytes, number: int) -> None:
        """Take any other message about it."""
        ...

    def lost(self, why: str) -> None:
        """Take note that the keeper is gone, and the worker with it."""
        ...

    def release(self) -> None:
        """Take note that the worker lives on elsewhere."""
        ...


class Hello(msgspec.Struct):
    """What the keeper says first."""

    version: int
    error: str = ""
    superseded: bool = False


class _Orphan(msgspec.Struct):
    """What ORPHAN tells."""

    label: str


class Link(asyncio.Protocol):
    """Cuts what the keeper sends into messages for the peers, and sends what they say a few at a time.

    A keeper that leaves more than `WAITING_BYTES_MAX` unread
    is given up, so that memory stays bounded.
    """

    def __init__(self, term: int, on_orphan: Callable[[str], None], on_lost: Callable[[Link], None]) -> None:
        self._term = term
        self._on_orphan = on_orphan
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._splitter = wire.Splitter()
        self._peers: dict[int, Peer] = {}
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._done: list[bytes] = []
        self._done_planned = False
        self._congested = False
        self._hello: asyncio.Future[None] = self._loop.create_future()
        self.up = True
        self.superseded = False
        self.why_lost = "its keeper ended"

    @property
    def full(self) -> bool:
        """Whether the socket does not take what is written, or much is about to be."""
        return self._congested or self._outgoing_bytes > FULL_BYTES

    async def greeted(self) -> None:
        """Return once the keeper has said that it speaks our version.

        Raises:
            Unavailable: It refuses, speaks another version, or ended.
        """
        await self._hello

    @property
    def peers(self) -> Collection[Peer]:
        """Those that were added and not removed."""
        return self._peers.values()

    def add(self, number: int, peer: Peer) -> None:
        """Let `peer` have all that is said about the worker of this number, until it is removed."""
        self._peers[number] = peer

    def remove(self, number: int) -> None:
        """Drop whatever else is said about the worker of this number."""
        self._peers.pop(number, None)

    def send(self, kind: int, worker: int, payload: bytes = b"", number: int = 0) -> None:
        """Queue one message; it goes out at the end of this turn of the loop at the latest, with others of the turn.

        Raises:
            Misused: It is larger than a message may be. Nothing was queued.
        """
        if len(payload) > wire.PAYLOAD_BYTES_MAX:
            raise Misused(
                f"a message of {len(payload)} bytes; at most {wire.PAYLOAD_BYTES_MAX} can be sent to a worker"
            )
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += (wire.HEADER.pack(len(payload), kind, worker, number), payload)
        self._outgoing_bytes += len(payload)
        if len(self._outgoing) >= 2 * PROMPT_MESSAGES:
            self._flush()

    def done(self, worker: int, frame: int, call: int) -> None:
        """Let the keeper forget a frame and a call of a worker, 0 for neither; told before whatever is sent later."""
        self._done.append(wire.DONE_ENTRY.pack(worker, frame, call))
        if not self._done_planned:
            self._done_planned = True
            self._loop.call_later(DONE_WITHIN_S, self._flush_done)

    def _flush_done(self) -> None:
        self._done_planned = False
        if self._done:
            self._flush()

    def _flush(self) -> None:
        outgoing, self._outgoing, self._outgoing_bytes = self._outgoing, [], 0
        if self._done:
            done, self._done = b"".join(self._done), []
            outgoing = [wire.message(wire.DONE, 0, done), *outgoing]
        transport = self._transport
        if not outgoing or transport is None or transport.is_closing():
            return
        transport.write(b"".join(outgoing))
        if transport.get_write_buffer_size() > WAITING_BYTES_MAX:
            self.why_lost = "its keeper was too slow in reading and was given up"
            transport.abort()

    def pause_reading(self) -> None:
        """Take nothing more from the keeper, which lets the workers' output wait in their pipes."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`; nothing happens when it was not paused."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close our end of the socket; what becomes of the workers, the keeper was told of each."""
        self.why_lost = "the server closed its workers"
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=FULL_BYTES)
        hello = {"versions": [wire.VERSION], "role": "server", "term": self._term, "pid": os.getpid()}
        self.send(wire.HELLO, 0, msgspec.json.encode(hello))

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._splitter.feed(data)
        except wire.WireError as error:
            self._give_up(str(error))
            return
        peers, frame = self._peers, wire.FRAME
        for kind, worker, payload, number in messages:
            peer = peers.get(worker)
            if peer is None:
                if kind == wire.HELLO:
                    self._greet(payload)
                elif kind == wire.ORPHAN:
                    self._on_orphan(msgspec.json.decode(payload, type=_Orphan).label)
                continue
            try:
                if kind == frame:
                    peer.frame(payload, number)
                else:
                    peer.told(kind, payload, number)
            except Exception as error:
                self._report(error)

    def _report(self, error: Exception) -> None:
        """Tell the loop of a callback that failed: it must not end the link, which others need."""
        self._loop.call_exception_handler({"message": "a callback of a worker failed", "exception": error})

    def _greet(self, payload: bytes) -> None:
        hello = msgspec.json.decode(payload, type=Hello)
        if hello.error:
            self.superseded = hello.superseded
            self._give_up(hello.error)
        elif hello.version != wire.VERSION:
            self._give_up(f"it speaks version {hello.version} of its protocol, this server version {wire.VERSION}")
        elif not self._hello.done():
            self._hello.set_result(None)

    def _give_up(self, why: str) -> None:
        self.why_lost = why
        if not self._hello.done():
            self._hello.set_exception(Unavailable(f"the keeper cannot be used: {why}"))
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._congested = False
        self.up = False
        if self._hello.done() and not self._hello.cancelled() and self._hello.exception() is None:
            self._on_lost(self)
        elif not self._hello.done():
            self._hello.set_exception(Unavailable("the keeper ended before it answered"))
            self._hello.exception()  # whoever waited was told; if nobody waits, nothing is amiss

    def bury(self) -> None:
        """Tell every peer that the keeper ended, and its worker with it."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            try:
                peer.lost(self.why_lost)
            except Exception as error:
                self._report(error)

    def abandon(self) -> None:
        """Let go of every peer: its worker lives, and belongs to another server."""
        for peer in list(self._peers.values()):
            peer.release()
