"""One HTTP connection on uvicorn: bounded in the time and bytes that a client may leave it hanging.

Source: RFC 9110, section 15.5.9 (408); RFC 6585, section 5 (431); RFC 9112, section 9.6 (a client may close its half).
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .moving import Departure

DESCRIPTORS_KEPT: Final = 256
"""How many descriptors are not for connections: the store, the keeper and whatever is read meanwhile."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """What a client may leave hanging; times in seconds.

    `head_s` and `head_bytes_max` bound the head of a request, `body_s` its body, `stalled_s` is how long a client may
    take nothing of what is sent to it. No more than `connections_max` are served: by default what the descriptor limit
    leaves.
    """

    head_s: float = 30.0
    head_bytes_max: int = 64 * 2**10
    body_s: float = 120.0
    stalled_s: float = 60.0
    connections_max: int | None = None
    look_every_s: float = 1.0

    @property
    def connections(self) -> int:
        """How many connections are served at once."""
        if self.connections_max is not None:
            return self.connections_max
        return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - DESCRIPTORS_KEPT)


class _WholeWrites:
    """A transport that sends what is written within one turn of the loop as one piece.

    uvicorn writes the head of an answer and its body one after the other, and uvloop sends each at once: two system
    calls, and a client that is woken twice. Everything but `write` and `close` is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._written: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def taken_bytes(self) -> int:
        """How many bytes the client's side of the connection has taken so far."""
        return self._bytes - self._transport.get_write_buffer_size()

    @property
    def is_all_taken(self) -> bool:
        """Whether nothing waits to be taken."""
        return not (self._written or self._transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn of the loop, with what else is written in it."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def close(self) -> None:
        """Send what is written, then close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is written."""
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            data = b"".join(written)
            self._bytes += len(data)
            self._transport.write(data)


class _NoTrailers(list[tuple[bytes, bytes]]):
    """Headers that come behind a body: they must never count as headers (RFC 9110, section 6.5.1), so none is kept."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and what it leaves open: `look`, called now and then, ends what has hung for too long.

    `is_kept` says that the connection comes from another process and has served there.
    """

    bounds = HttpBounds()
    connections_max = bounds.connections
    departure = Departure()
    is_kept = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head, or turn the client away when too many are connected."""
        self._writes = _WholeWrites(transport)
        self._head_since: float | None = self.loop.time()
        self._is_in_message = self._is_in_body = self._is_idle = False
        self._head_bytes = 0
        self._taken = (0, 0.0)
        self._unfinished: tuple[object, float] = (None, 0.0)
        if len(self.connections) >= self.connections_max:
            self.transport = transport
            self._refuse(b"503 Service Unavailable", b"retry-after: 1\r\n")
            return
        super().connection_made(cast(asyncio.Transport, self._writes))
        if self.is_kept:
            self._head_since, self._is_idle = None, True
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if self.departure.is_under_way:
            self.prepare_to_leave()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that grows too long is refused, and the connection ends."""
        if self._is_idle:  # until now: the head begins with its first byte, and may be long in coming
            self._is_idle, self._head_since = False, self.loop.time()
        in_head = self._head_since is not None
        super().data_received(data)
        if in_head and self._head_since is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.head_bytes_max:
                self._refuse(b"431 Request Header Fields Too Large")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self.departure.note_lost()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns None
        """Keep our half open for the answer of a request that came whole; whoever has a stream is gone."""
        self._writes.flush()
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_started:
            return False
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        self._is_in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._head_since, self._head_bytes, self._is_in_body = None, 0, True
        super().on_headers_complete()
        self.headers = _NoTrailers()
        if self.departure.is_cut_off:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Begin to wait for the next head, if the answer was given before the body was there."""
        super().on_message_complete()
        self._is_in_message = self._is_in_body = False
        self._is_idle = self.cycle.response_complete
        if self.departure.is_under_way:
            self._offer_soon()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head, unless a body comes that was answered before its end and is passed over."""
        super().on_response_complete()
        self._is_idle = not self._is_in_body
        if self.departure.is_under_way:
            self._offer_soon()

    def resume_writing(self) -> None:
        """Go on writing; when the connection is about to leave, all of its answer may be sent by now."""
        super().resume_writing()
        if self.departure.is_under_way:
            self._offer_soon()

    @property
    def is_between_requests(self) -> bool:
        """Whether no byte of a request has been read that is not answered, and every byte of the answers is sent."""
        in_between = not self._is_in_message and self._is_answered
        return in_between and self._writes.is_all_taken and not self.transport.is_closing()

    @property
    def may_bring_a_request(self) -> bool:
        """Whether a request may come of it that has not been read whole by now."""
        return (self._is_in_message or self._is_answered) and not self.transport.is_closing()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    @property
    def has_served(self) -> bool:
        """Whether it has had a request, here or before it came here."""
        return self.is_kept or self.cycle is not None

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        descriptor: int = self.transport.get_extra_info("socket").fileno()
        return descriptor

    def prepare_to_leave(self) -> None:
        """Offer itself to its departure from now on, whenever it may have come between two requests."""
        self.transport.set_write_buffer_limits(high=0)  # so that `resume_writing` tells of the last byte
        self._offer_soon()

    def let_go(self) -> None:
        """Forget the connection without a word to the client; closing it says nothing while somebody else has it."""
        self.transport.abort()

    def close_soon(self) -> None:
        """End the connection with the answer to the request under way, or to the next one."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _offer_soon(self) -> None:
        self.loop.call_soon(self.departure.offer, self)

    def look(self, now: float) -> None:
        """End the connection when its request has no end, or its client takes nothing, for too long."""
        if not self._writes.is_all_taken:
            taken, since = self._taken
            if taken != self._writes.taken_bytes or not since:
                self._taken = (self._writes.taken_bytes, now)
            elif now - since >= self.bounds.stalled_s:
                self._reset()
            return
        self._taken = (0, 0.0)
        if self.cycle is not None and self.cycle.more_body:
            self._look_at_body(now)
            return
        waits_for_head = self.cycle is None or self.cycle.response_complete
        late = waits_for_head and self._head_since is not None and now - self._head_since >= self.bounds.head_s
        if late and not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")

    def _look_at_body(self, now: float) -> None:
        """End the connection when the body of one request is not there in time; it counts from the first look at it."""
        cycle, since = self._unfinished
        if cycle is not self.cycle:
            self._unfinished = (self.cycle, now)
        elif now - since >= self.bounds.body_s:
            if self.cycle.response_started:
                self._reset()
            else:
                self._refuse(b"408 Request Timeout")

    def _reset(self) -> None:
        """Let go at once of all that waits, also in the system's buffers, which else keep it for minutes."""
        end = self.transport.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        self.transport.write(b"HTTP/1.1 %s\r\n%sconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, headers))
        self.transport.close()
