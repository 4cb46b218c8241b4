"""The calls of one session in flight: from the request that begins one to the one answer that ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias

import msgspec

from ..gateway.contract import OpenCall, Upstream
from ..gateway.rules import REMEMBERED, Change, change_of
from ..model import HoldfastError, Misused, Refused, redacted
from ..model.jsonrpc import INTERRUPTED, UNAVAILABLE, Message, RequestId, error_answer, notification, parse
from ..runtime import spawn
from .streams import Stream

_log = logging.getLogger(__name__)

CALLS_MAX: Final = 1000
CANCEL_GRACE_S: Final = 5.0
CANCELLED: Final = "notifications/cancelled"
PING: Final = "ping"
PASSING: Final = frozenset({PING, CANCELLED})
PASSING_BYTES_MAX: Final = 2**12


class Call:
    """One request in flight: first somebody waits for its answer, later it has a stream.

    `number` is its own in the session; one that is `inherited` was passed on by an earlier server.
    """

    __slots__ = (
        "cancelled",
        "change",
        "finished",
        "inherited",
        "may_stream",
        "message",
        "number",
        "stream",
        "timer",
        "token",
        "waiter",
    )

    def __init__(self, number: int, message: Message, body: bytes, waiter: asyncio.Future[Answer]) -> None:
        params = message.params
        self.number = number
        self.message = message
        self.token = None if params is None or params.meta is None else params.meta.progress_token
        self.change = change_of(message.method, body) if message.method in REMEMBERED else None
        self.waiter = waiter
        self.may_stream = True
        self.finished = self.cancelled = self.inherited = False
        self.stream: Stream | None = None
        self.timer: asyncio.TimerHandle | None = None

    def tell(self, answer: Answer) -> None:
        """Give the answer to whoever waits for it, unless the task that did was cancelled."""
        if not self.waiter.done():
            self.waiter.set_result(answer)

    @property
    def answered(self) -> bool:
        """Whether its waiter has an answer, or the stream that will hold it."""
        return self.finished or self.stream is not None


Answer: TypeAlias = "bytes | Stream"


class Home(Protocol):
    """What calls ask of the live session they belong to."""

    id: str
    upstream: Upstream

    async def remember(self, change: Change) -> None:
        """Write what a new worker must be told."""
        ...

    def finished(self, call: Call, frame: bytes, number: int) -> None:
        """Hand on the answer of a call that is in flight no more; `number` is that of the server's frame, or 0."""
        ...


class Calls:
    """The calls in flight, by their ids, oldest first, and those with a progress token by that too.

    Invariant: every request that reached the server is in `in_flight` until its answer is handed on: to the waiter, or
    to the journal of its stream. Only `lost` takes it out before, for whoever answers it in the server's stead.
    """

    __slots__ = ("_begun", "_home", "_idle", "_timeout_s", "by_token", "in_flight")

    def __init__(self, home: Home, timeout_s: float | None) -> None:
        self.in_flight: dict[RequestId, Call] = {}
        self.by_token: dict[RequestId, Call] = {}
        self._home = home
        self._timeout_s = timeout_s
        self._begun = 0
        self._idle: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self.in_flight)

    async def idle(self) -> None:
        """Return once no call is in flight."""
        if self.in_flight:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    # -- how a call begins

    def begin(self, message: Message, body: bytes) -> Call:
        """Register a request; its answer will be set on the waiter, or its stream once it has one.

        Raises:
            Misused: Its id or progress token is in flight already.
            Refused: Too many are in flight, or the server does not read what it was sent.
        """
        request_id = message.id
        assert request_id is not None
        if request_id in self.in_flight:
            raise Misused(f"a request with the id {request_id!r} is in flight; use each id once")
        if len(self.in_flight) >= CALLS_MAX:
            raise Refused("too many requests of this session are in flight; wait for answers", wait_s=1.0)
        self.check_room(message, body)
        self._begun += 1
        call = Call(self._begun, message, body, asyncio.get_running_loop().create_future())
        if call.token is not None:
            if call.token in self.by_token:
                raise Misused(f"a request with the progress token {call.token!r} is in flight; use each token once")
            self.by_token[call.token] = call
        self.in_flight[request_id] = call
        return call

    def begin_all(self, requests: Iterable[tuple[Message, bytes]]) -> list[Call]:
        """Register several requests, or none when one of them cannot be."""
        calls: list[Call] = []
        try:
            for message, body in requests:
                calls.append(self.begin(message, body))
        except HoldfastError:
            self.give_up(calls)
            raise
        return calls

    def take_over(self, inherited: Iterable[OpenCall]) -> list[Call]:
        """Register the calls that an earlier server passed on; nobody waits for them, unless they have a stream.

        The time a call may take counts from when it was passed on.
        """
        calls: list[Call] = []
        for old in inherited:
            body = old.note.encode()
            message = parse(body)
            assert message.id is not None
            call = Call(old.call, message, body, asyncio.get_running_loop().create_future())
            call.inherited, call.may_stream = True, False
            self._begun = max(self._begun, old.call)
            self.in_flight[message.id] = call
            if call.token is not None:
                self.by_token[call.token] = call
            self.bound(call, old.age_s)
            calls.append(call)
        return calls

    def check_room(self, message: Message, body: bytes) -> None:
        """Refuse a message, a request or not, while the server does not read what it was sent.

        Answers, and small pings and cancellations, pass as long as anything does: they may set the server going again.

        Raises:
            Refused: There is no room.
        """
        upstream = self._home.upstream
        if not upstream.full:
            return
        passes = message.is_answer or (message.method in PASSING and len(body) <= PASSING_BYTES_MAX)
        if upstream.jammed or not passes:
            raise Refused("the server of this session does not read what it was sent; try again", wait_s=1.0)

    # -- how long a call may take

    def answer_whole(self, call: Call) -> None:
        """See to it that a call is answered in one piece, however long it takes."""
        call.may_stream = False
        self.bound(call)

    def bound(self, call: Call, age_s: float = 0.0) -> None:
        """Answer a call in flight with an error once it takes longer than any may, and tell its server."""
        timeout_s = self._timeout_s
        if timeout_s is not None and call.timer is None:
            why = f"no answer within {timeout_s:g} s, the longest a request may take here"
            answer = error_answer(call.message.id, INTERRUPTED, why)
            self._set_timer(call, max(0.0, timeout_s - age_s), answer, notify=why)

    def cancelled(self, request_id: RequestId | None) -> None:
        """Give the server a moment to answer a call that the client has cancelled, then answer it with an error.

        A server need not answer it (MCP 2025-11-25, "Cancellation"), and a call without an answer has no end.
        """
        call = self.in_flight.get(request_id) if request_id is not None else None
        if call is not None and not call.cancelled:
            call.cancelled = True
            answer = error_answer(request_id, INTERRUPTED, "cancelled by the client")
            self._set_timer(call, CANCEL_GRACE_S, answer)

    def _set_timer(self, call: Call, after_s: float, answer: bytes, *, notify: str | None = None) -> None:
        if call.timer is not None:
            call.timer.cancel()
        call.timer = asyncio.get_running_loop().call_later(after_s, self._time_out, call, answer, notify)

    def _time_out(self, call: Call, answer: bytes, notify: str | None) -> None:
        if notify is not None and not call.finished:
            params = {"requestId": call.message.id, "reason": notify}
            self._home.upstream.send(notification(CANCELLED, params))
        self._finish(call, answer, 0)

    # -- how a call ends

    def answered(self, message: Message, frame: bytes, number: int) -> None:
        """End the call that an answer of the server belongs to, if it is still in flight."""
        call = self.in_flight.get(message.id) if message.id is not None else None
        if call is None:
            _log.debug("session %s: an answer to a request that is not in flight", redacted(self._home.id))
            self._home.upstream.done(number)
        elif call.change is not None and message.error is msgspec.UNSET:
            remembering = self._remember_then_finish(call, call.change, frame, number)
            spawn(remembering, name="remember what a new worker must be told")
        else:
            self._finish(call, frame, number)

    def give_up(self, calls: Iterable[Call]) -> None:
        """End calls whose answers nobody waits for, because they could not be passed on."""
        self.interrupt(calls, "it could not be passed on")

    def interrupt_all(self, why: str) -> None:
        """Answer every call in flight with an error, in the order they came."""
        self.interrupt(list(self.in_flight.values()), why)

    def interrupt(self, calls: Iterable[Call], why: str) -> None:
        """Answer these calls with an error, unless they are answered."""
        for call in calls:
            self._finish(call, error_answer(call.message.id, INTERRUPTED, why), 0)

    def lost(self) -> list[Call]:
        """Take every call out of flight, for what the next worker says is none of their business; return them.

        They are not answered: whoever asked for them shall `interrupt` them.
        """
        calls = list(self.in_flight.values())
        for call in calls:
            if call.timer is not None:
                call.timer.cancel()
        self.in_flight.clear()
        self.by_token.clear()
        return calls

    async def _remember_then_finish(self, call: Call, change: Change, frame: bytes, number: int) -> None:
        try:
            await self._home.remember(change)
        except HoldfastError as error:
            frame = error_answer(call.message.id, UNAVAILABLE, f"done, but it could not be kept: {error}")
        self._finish(call, frame, number)

    def _finish(self, call: Call, frame: bytes, number: int) -> None:
        if call.finished:
            self._home.upstream.done(number)
            return
        call.finished = True
        if call.timer is not None:
            call.timer.cancel()
        request_id = call.message.id
        if request_id is not None and self.in_flight.get(request_id) is call:
            del self.in_flight[request_id]
        if call.token is not None and self.by_token.get(call.token) is call:
            del self.by_token[call.token]
        self._home.finished(call, frame, number)
        if self._idle is not None and not self.in_flight:
            self._idle.set_result(None)
            self._idle = None
