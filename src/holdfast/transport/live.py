"""A session as this node serves it: its calls in flight, its streams, and where each word of its server goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from ..gateway.contract import Exit, Handshake, Upstream
from ..gateway.rules import REMEMBERED, UNANSWERED, Change, change_of, how_it_ended
from ..model import Conflict, HoldfastError, Misused, NotFound, Refused, Unavailable, redacted
from ..model.jsonrpc import (
    INTERRUPTED,
    UNAVAILABLE,
    Message,
    RequestId,
    error_answer,
    notification,
    one_line,
    parse_frame,
)
from ..runtime import spawn
from ..stores.contract import Entry, Kind
from .held import Held
from .questions import Questions
from .rules import PRIMED_SINCE, route
from .sse import EventId, session_tag, unnumbered
from .streams import Journaler, Outlet, Stream

_log = logging.getLogger(__name__)

STANDALONE: Final = "0"
CALLS_MAX: Final = 1000
CANCEL_GRACE_S: Final = 5.0
CANCELLED: Final = "notifications/cancelled"
PING: Final = "ping"
PASSING: Final = frozenset({PING, CANCELLED})
PASSING_BYTES_MAX: Final = 2**12


class Call:
    """One request in flight: first somebody waits for its answer, later it has a stream."""

    __slots__ = ("cancelled", "change", "finished", "may_stream", "message", "stream", "timer", "waiter")

    def __init__(self, message: Message, body: bytes, waiter: asyncio.Future[Answer]) -> None:
        self.message = message
        self.change = change_of(message.method, body) if message.method in REMEMBERED else None
        self.waiter = waiter
        self.may_stream = True
        self.finished = self.cancelled = False
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


class Owner(Protocol):
    """What a live session asks of the host that keeps it."""

    term: int
    journaler: Journaler
    request_timeout_s: float | None

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        ...

    async def remember(self, live: LiveSession, change: Change) -> None:
        """Write what a new worker must be told."""
        ...

    async def count_crash(self, live: LiveSession, ended: Exit) -> None:
        """Record a crash, and end the session when it was one too many."""
        ...


class LiveSession:
    """Serves one session. Everything here happens on the event loop, so a method without await is atomic.

    Invariant: every request that reached the server is in `calls` until its answer is handed on: to the waiter, or to
    the journal of its stream.
    """

    def __init__(
        self,
        session_id: str,
        principal: str | None,
        timeout: float | None,
        owner: Owner,
        place: Path,
        handshake: Handshake,
        used_at: float,
    ) -> None:
        self.id = session_id
        self.principal = principal
        self.tag = session_tag(session_id)
        self.timeout = timeout
        self.place = place
        self.handshake = handshake
        self.used_at = self.told_at = used_at
        self.upstream: Upstream
        self.ending = self.ended = False
        self.calls: dict[RequestId, Call] = {}
        self.streams: dict[str, Stream] = {}
        self._tokens: dict[RequestId, Call] = {}
        self._held = Held()
        self._questions = Questions(owner.term)
        self._owner = owner
        self._streams_opened = 0
        self._idle: asyncio.Future[None] | None = None

    @property
    def in_use(self) -> bool:
        """Whether a call is in flight or a stream is connected; both count as use."""
        return bool(self.calls) or any(stream.outlet is not None for stream in self.streams.values())

    def is_expired(self, now: float) -> bool:
        """Return whether nobody has used it for its timeout."""
        return self.timeout is not None and now - self.used_at >= self.timeout and not self.in_use

    async def idle(self) -> None:
        """Return once no call is in flight."""
        if self.calls:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    # -- what the client says

    def begin(self, message: Message, body: bytes) -> Call:
        """Register a request; its answer will be set on the waiter, or its stream once it has one.

        Raises:
            Misused: Its id or progress token is in flight already.
            Refused: Too many are in flight, or the server does not read what it was sent.
        """
        request_id = message.id
        assert request_id is not None
        if request_id in self.calls:
            raise Misused(f"a request with the id {request_id!r} is in flight; use each id once")
        if len(self.calls) >= CALLS_MAX:
            raise Refused("too many requests of this session are in flight; wait for answers", wait_s=1.0)
        self.check_room(message, body)
        call = Call(message, body, asyncio.get_running_loop().create_future())
        token = _token(message)
        if token is not None:
            if token in self._tokens:
                raise Misused(f"a request with the progress token {token!r} is in flight; use each token once")
            self._tokens[token] = call
        self.calls[request_id] = call
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

    def give_up(self, calls: Iterable[Call]) -> None:
        """End calls whose answers nobody waits for, because they could not be passed on."""
        self._interrupt(calls, "it could not be passed on")

    def answer_whole(self, call: Call) -> None:
        """See to it that a call is answered in one piece, however long it takes."""
        call.may_stream = False
        self._bound(call)

    def open_stream(self, call: Call) -> None:
        """Turn the answer of a call into a stream, unless it is one or has been answered."""
        if call.answered or not call.may_stream:
            return
        self._bound(call)
        request_id = call.message.id
        self._streams_opened += 1
        call.stream = stream = Stream(f"{self._owner.term}-{self._streams_opened}", request_id, self._owner.term)
        stream.attach(Outlet())
        self.streams[stream.name] = stream
        self._emit(stream, Kind.OPENING)
        call.tell(stream)

    def may_have_sent(self, seen: EventId) -> bool:
        """Return whether a client may have seen this event: of what this node numbered itself, that is known."""
        opened_under, _, number = seen.stream.partition("-")
        term = self._owner.term
        if max(seen.term, int(opened_under)) > term or (seen.stream == opened_under and seen.stream != STANDALONE):
            return False
        if int(opened_under) == term and int(number) > self._streams_opened:
            return False
        stream = self.streams.get(seen.stream)
        if stream is None:  # it has ended, unless it is the GET stream, which never does
            return seen.stream != STANDALONE or seen.term < term
        return seen.term < term or seen.seq < stream.next_seq

    def open_standalone(self, outlet: Outlet) -> Stream:
        """Let a GET listen to what belongs to no request.

        Raises:
            Conflict: Another GET listens already.
        """
        stream = self.streams.get(STANDALONE)
        if stream is not None and stream.outlet is not None:
            raise Conflict("a GET stream of this session is open; only one may be")
        return self.take_standalone(outlet)

    def take_standalone(self, outlet: Outlet) -> Stream:
        """Let a GET listen instead of whichever did, whose connection may be dead; what was held is sent."""
        stream = self.streams.get(STANDALONE)
        if stream is None:
            stream = self.streams[STANDALONE] = Stream(STANDALONE, None, self._owner.term)
        stream.attach(outlet)
        if stream.next_seq == 0:
            self._emit(stream, Kind.OPENING)
        for frame in self._held.release():
            self._emit(stream, Kind.MESSAGE, frame)
        return stream

    async def answer(self, message: Message, body: bytes) -> None:
        """Pass the client's answer to a question of the server; drop it when nobody waits for it any more."""
        answer = self._questions.answered(message, body)
        if answer is None:
            _log.info("session %s: dropped an answer to a question nobody asks any more", redacted(self.id))
            return
        try:
            await self.upstream.deliver(one_line(answer), first=True)
        except Unavailable as error:
            _log.info("session %s: whoever asked has ended before the answer came: %s", redacted(self.id), error)

    async def notify(self, message: Message, body: bytes) -> None:
        """Pass on a notification; return once the keeper has it.

        Raises:
            Unavailable: No server runs, or it ended before.
        """
        await self.upstream.deliver(one_line(body))
        if message.method == CANCELLED and message.params is not None:
            self._cancelled(message.params.request_id)

    def check_room(self, message: Message, body: bytes) -> None:
        """Refuse a message while its server does not read what it was sent.

        Answers, and small pings and cancellations, pass as long as anything does: they may set the server going again.

        Raises:
            Refused: There is no room.
        """
        upstream = self.upstream
        if not upstream.full:
            return
        passes = message.is_answer or (message.method in PASSING and len(body) <= PASSING_BYTES_MAX)
        if upstream.jammed or not passes:
            raise Refused("the server of this session does not read what it was sent; try again", wait_s=1.0)

    # -- what the server says

    def heard(self, frame: bytes) -> None:
        """Send one message of the server to the stream it belongs to."""
        try:
            message = parse_frame(frame)
        except Misused as error:
            _log.warning(
                "session %s: its MCP server wrote to stdout what is no message (logs go to stderr): %s",
                redacted(self.id),
                error,
            )
            return
        frame = one_line(frame)
        if message.method is None:
            self._answered(message, frame)
        else:
            self._said(message, frame)

    def lost(self, ended: Exit) -> None:
        """Record that the server ended by itself, then answer everything that was in flight."""
        calls = list(self.calls.values())
        self._withdraw_questions(calls)
        self.calls.clear()  # what the next worker says is none of their business
        self._tokens.clear()
        spawn(self._interrupt_by_crash(ended, calls), name="answer what a crash interrupted")

    def interrupt(self, why: str) -> None:
        """Answer every call in flight with an error, in the order they came."""
        self._interrupt(list(self.calls.values()), why)

    def close_streams(self, last_words: bytes) -> None:
        """End every connection after `last_words`; a client resumes wherever the session is served next."""
        for stream in list(self.streams.values()):
            if stream.outlet is not None:
                stream.outlet.close(last_words)
                stream.outlet = None

    def _cancelled(self, request_id: RequestId | None) -> None:
        """Give the server a moment to answer a call that the client has cancelled, then answer it with an error.

        A server need not answer it (MCP 2025-11-25, "Cancellation"), and a call without an answer has no end.
        """
        call = self.calls.get(request_id) if request_id is not None else None
        if call is not None and not call.cancelled:
            call.cancelled = True
            answer = error_answer(request_id, INTERRUPTED, "cancelled by the client")
            self._set_timer(call, CANCEL_GRACE_S, answer)

    def _bound(self, call: Call) -> None:
        """Answer a call in flight with an error once it takes longer than any may, and tell its server."""
        timeout_s = self._owner.request_timeout_s
        if timeout_s is not None and call.timer is None:
            why = f"no answer within {timeout_s:g} s, the longest a request may take here"
            answer = error_answer(call.message.id, INTERRUPTED, why)
            self._set_timer(call, timeout_s, answer, notify=why)

    def _set_timer(self, call: Call, after_s: float, answer: bytes, *, notify: str | None = None) -> None:
        if call.timer is not None:
            call.timer.cancel()
        call.timer = asyncio.get_running_loop().call_later(after_s, self._time_out, call, answer, notify)

    def _time_out(self, call: Call, answer: bytes, notify: str | None) -> None:
        if notify is not None and not call.finished:
            params = {"requestId": call.message.id, "reason": notify}
            self.upstream.send(notification(CANCELLED, params))
        self._finish(call, answer)

    def _withdraw_questions(self, calls: list[Call]) -> None:
        """Tell the client that nobody waits any more for the answers to what its server had asked."""
        for asked_id in self._held.drop_questions():
            self._questions.drop(asked_id)  # the client has never seen it
        asked = self._questions.lost()
        stream = self.streams.get(STANDALONE) or next((call.stream for call in calls if call.stream is not None), None)
        if stream is None:
            return
        for seen_id in asked:
            params = {"requestId": seen_id, "reason": "the MCP server that asked has ended"}
            self._emit(stream, Kind.MESSAGE, notification(CANCELLED, params))

    async def _interrupt_by_crash(self, ended: Exit, calls: list[Call]) -> None:
        try:
            await self._owner.count_crash(self, ended)
        finally:
            self._interrupt(calls, f"{how_it_ended(ended)}; {UNANSWERED}")

    def _interrupt(self, calls: Iterable[Call], why: str) -> None:
        for call in calls:
            self._finish(call, error_answer(call.message.id, INTERRUPTED, why))

    def _answered(self, message: Message, frame: bytes) -> None:
        call = self.calls.get(message.id) if message.id is not None else None
        if call is None:
            _log.debug("session %s: an answer to a request that is not in flight", redacted(self.id))
        elif call.change is not None and message.error is msgspec.UNSET:
            spawn(self._remember_then_finish(call, call.change, frame), name="remember what a new worker must be told")
        else:
            self._finish(call, frame)

    def _said(self, message: Message, frame: bytes) -> None:
        method, params = message.method or "", message.params
        seen: bytes | None = frame
        if message.id is not None:
            seen = self._questions.ask(message.id, frame)
        elif method == CANCELLED:
            seen = self._questions.withdraw(None if params is None else params.request_id, frame)
        if seen is None:
            self._refuse_question(message.id, "too many questions wait for an answer")
            return
        frame = seen
        token = params.progress_token if params is not None else None
        standalone = self.streams.get(STANDALONE)
        listening = standalone is not None and standalone.outlet is not None
        target = route(method, token, self._tokens, self.calls.values(), listening)
        if target == "standalone" or not target.may_stream:
            if standalone is not None:
                self._emit(standalone, Kind.MESSAGE, frame)
            else:
                self._hold(message, frame)
            return
        self.open_stream(target)
        if target.stream is not None:
            self._emit(target.stream, Kind.MESSAGE, frame)

    def _hold(self, message: Message, frame: bytes) -> None:
        for asked_id in self._held.add(frame, message.id):
            self._questions.drop(asked_id)
            self._refuse_question(asked_id, "nobody listens, and more is held for whoever will than may be")

    def _refuse_question(self, asked_id: RequestId | None, why: str) -> None:
        if asked_id is not None:
            self.upstream.send(error_answer(asked_id, UNAVAILABLE, why), first=True)

    async def _remember_then_finish(self, call: Call, change: Change, frame: bytes) -> None:
        try:
            await self._owner.remember(self, change)
        except HoldfastError as error:
            frame = error_answer(call.message.id, UNAVAILABLE, f"done, but it could not be kept: {error}")
        self._finish(call, frame)

    def _finish(self, call: Call, frame: bytes) -> None:
        if call.finished:
            return
        call.finished = True
        if call.timer is not None:
            call.timer.cancel()
        request_id = call.message.id
        if request_id is not None and self.calls.get(request_id) is call:
            del self.calls[request_id]
        token = _token(call.message) if self._tokens else None
        if token is not None and self._tokens.get(token) is call:
            del self._tokens[token]
        self.used_at = self._owner.now()
        if call.stream is not None:
            self._emit(call.stream, Kind.FINAL, frame)
        else:
            call.tell(frame)
            del call.waiter  # whoever still has the call must not keep its answer
        if self._idle is not None and not self.calls:
            self._idle.set_result(None)
            self._idle = None

    def _emit(self, stream: Stream, kind: Kind, data: bytes = b"") -> None:
        owner = self._owner
        entry = stream.next_entry(kind, owner.term, owner.now(), data)
        if self.ended:  # its journal is gone; whoever still listens is told all the same
            self._publish_unjournaled(stream, entry, data)
            self._close_after(stream, entry)
            return
        owner.journaler.write(self.id, owner.term, entry, lambda entry, error: self._journaled(stream, entry, error))

    def _journaled(self, stream: Stream, entry: Entry, error: HoldfastError | None) -> None:
        if error is None:
            if entry.data or self.handshake.protocol >= PRIMED_SINCE:
                stream.publish(self.tag, entry)
        elif self.ending and isinstance(error, NotFound):  # the journal went with the session
            self._publish_unjournaled(stream, entry, entry.data)
        else:
            _log.error("session %s: a message could not be journaled: %s", redacted(self.id), error)
            failure = error_answer(stream.request_id, UNAVAILABLE, f"the answer could not be kept: {error}")
            self._publish_unjournaled(stream, entry, failure)
        self._close_after(stream, entry)

    def _close_after(self, stream: Stream, entry: Entry) -> None:
        if entry.kind is Kind.FINAL:
            self.streams.pop(stream.name, None)

    def _publish_unjournaled(self, stream: Stream, entry: Entry, data: bytes) -> None:
        """End the stream of a call with `data`, without an id, instead of leaving whoever listens waiting."""
        if stream.outlet is not None and data and entry.kind is not Kind.MESSAGE and stream.request_id is not None:
            stream.outlet.push((entry.term, entry.seq), unnumbered(data))
            stream.outlet.close()


def _token(message: Message) -> RequestId | None:
    if message.params is None or message.params.meta is None:
        return None
    return message.params.meta.progress_token
