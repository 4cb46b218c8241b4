"""A session as this node serves it: its streams, and where each word of its client and its server goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from ..gateway.contract import Exit, Handshake, Inventory, Upstream
from ..gateway.rules import UNANSWERED, Change, how_it_ended
from ..model import Conflict, HoldfastError, Misused, Moved, NotFound, Unavailable, redacted
from ..model.jsonrpc import (
    UNAVAILABLE,
    Message,
    RequestId,
    error_answer,
    id_from_json,
    notification,
    one_line,
    parse_frame,
)
from ..runtime import spawn
from ..stores.contract import Entry, Kind, OpenStream
from .calls import CANCELLED, Call, Calls
from .held import Held, Waiting
from .questions import Questions
from .rules import PRIMED_SINCE, route
from .sse import RETRY, EventId, session_tag, unnumbered
from .streams import Journaler, Outlet, Stream

_log = logging.getLogger(__name__)

STANDALONE: Final = "0"
GOES_ON: Final = "the session goes on at another server; send it again"


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
    """Serves one session. Everything here happens on the event loop, so a method without await is atomic."""

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
        self.ending = self.ended = self._left = False
        self.calls = Calls(self, owner.request_timeout_s)
        self.streams: dict[str, Stream] = {}
        self._held = Held()
        self._questions = Questions(self._let_go)
        self._owner = owner
        self._streams_opened = 0
        self.entering = 0  # requests that are on their way to the server
        self._counting: asyncio.Task[None] | None = None
        self._told_before: set[int] = set()
        self.unsure: set[int] = set()

    @property
    def in_use(self) -> bool:
        """Whether a call is in flight or a stream is connected; both count as use.

        A call of an earlier server that nobody can hear the answer of does not.
        """
        calls, streams = self.calls.in_flight.values(), self.streams.values()
        waited_for = any(not call.inherited or call.stream is not None for call in calls)
        return waited_for or any(stream.outlet is not None for stream in streams)

    def is_expired(self, now: float) -> bool:
        """Return whether nobody has used it for its timeout."""
        return self.timeout is not None and now - self.used_at >= self.timeout and not self.in_use

    # -- from one server to the next

    def take_over(
        self, inventory: Inventory | None, unfinished: Iterable[OpenStream], told: set[int]
    ) -> list[OpenStream]:
        """Go on where the server before this one was; return the streams whose answer nobody will give.

        `told` are the numbers of the frames, among those that come again, which are journaled already; the client may
        have got them or not, which for the GET stream is `unsure` until it comes.
        """
        self._told_before = self.unsure = told
        waiting: dict[RequestId, OpenStream] = {}
        for stream in unfinished:
            if stream.opening.stream == STANDALONE:
                self._go_on(stream, None)
            else:
                waiting[id_from_json(stream.opening.request)] = stream
        for call in self.calls.take_over(() if inventory is None else inventory.calls):
            assert call.message.id is not None
            if (open_stream := waiting.pop(call.message.id, None)) is not None:
                call.stream, call.may_stream = self._go_on(open_stream, call.message.id), True
        return list(waiting.values())

    def _go_on(self, stream: OpenStream, request_id: RequestId | None) -> Stream:
        name = stream.opening.stream
        self.streams[name] = found = Stream(name, request_id, self._owner.term, stream.last_seq + 1)
        return found

    @property
    def may_leave(self) -> bool:
        """Whether nobody waits here for something that the next server could not give."""
        calls = self.calls.in_flight.values()
        return not self.entering and all(call.stream and call.stream.may_go_on_elsewhere for call in calls)

    def stream_all(self) -> None:
        """Turn the answer of every call into a stream that may be one: then it can be had at the next server."""
        if self.handshake.protocol >= PRIMED_SINCE:
            for call in list(self.calls.in_flight.values()):
                self.open_stream(call)

    def leave(self, why: str) -> None:
        """Serve the session no more, the next server goes on; who waits for an answer in one piece is told why not."""
        self._left = True
        self.calls.interrupt([call for call in self.calls.in_flight.values() if call.stream is None], why)
        self.upstream.release()
        self.close_streams(RETRY)

    # -- its streams

    def open_stream(self, call: Call) -> None:
        """Turn the answer of a call into a stream, unless it is one or has been answered."""
        if call.answered or not call.may_stream:
            return
        self.calls.bound(call)
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
        for waiting in self._held.release():
            self._emit(stream, Kind.MESSAGE, waiting.frame, waiting.number, open_ended=waiting.asked_id is not None)
        return stream

    def close_streams(self, last_words: bytes) -> None:
        """End every connection after `last_words`; a client resumes wherever the session is served next."""
        for stream in list(self.streams.values()):
            self._close_stream(stream, last_words)

    def _close_stream(self, stream: Stream, last_words: bytes) -> None:
        if stream.outlet is not None:
            # A request whose client knows no event of its stream is refused instead: it could not resume.
            knows = stream.request_id is None or stream.delivered[1] >= 0
            stream.outlet.close(last_words if knows else b"")
            stream.outlet = None

    # -- what the client says

    async def answer(self, message: Message, body: bytes) -> None:
        """Pass the client's answer to a question of the server; drop it when nobody waits for it any more.

        Raises:
            Moved: Another server has the session, and the question.
        """
        await self.upstream.settled()  # its question may be among what was said to the server before this one
        found = self._questions.answered(message, body)
        if found is None:
            if self._left:
                raise Moved(GOES_ON)
            _log.info("session %s: dropped an answer to a question nobody asks any more", redacted(self.id))
            return
        answer, number = found
        try:
            await self._deliver(one_line(answer), first=True, answers=number)
        except Unavailable as error:
            _log.info("session %s: whoever asked has ended before the answer came: %s", redacted(self.id), error)
            self._let_go(number)

    async def notify(self, message: Message, body: bytes, *, reaches: int = 0) -> None:
        """Pass on a notification; return once the keeper has it, and knows what stage the server `reaches` by it.

        Raises:
            Unavailable: No server runs, or it ended before.
        """
        await self._deliver(one_line(body), reaches=reaches)
        if message.method == CANCELLED and message.params is not None:
            self.calls.cancelled(message.params.request_id)

    async def _deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        self.entering += 1
        try:
            await self.upstream.deliver(frame, first=first, reaches=reaches, answers=answers)
        finally:
            self.entering -= 1

    # -- what the server says

    def heard(self, frame: bytes, number: int) -> None:
        """Send one message of the server to the stream it belongs to; `number` is its own at the keeper."""
        if self.ended:
            self._let_go(number)
            return
        try:
            message = parse_frame(frame)
        except Misused as error:
            _log.warning(
                "session %s: its MCP server wrote to stdout what is no message (logs go to stderr): %s",
                redacted(self.id),
                error,
            )
            self._let_go(number)
            return
        frame = one_line(frame)
        if message.method is None:
            self.calls.answered(message, frame, number)
        elif number in self._told_before:
            self._recall(message, frame, number)
        else:
            self._said(message, frame, number)

    def lost(self, ended: Exit) -> None:
        """Record that the server ended by itself, then answer everything that was in flight."""
        calls = self.calls.lost()
        self._withdraw_questions(calls)
        self._counting = spawn(self._interrupt_by_crash(ended, calls), name="answer what a crash interrupted")

    async def counted(self) -> None:
        """Return once the end of the last server is recorded: the keeper forgets it when another one starts."""
        if self._counting is not None and not self._counting.done():
            await asyncio.wait({self._counting})

    def forget(self) -> None:
        """Have nothing more to do with what the server said or says: the session is gone."""
        self.ended = True
        for number in (*self._questions.lost(), *(waiting.number for waiting in self._held.release())):
            self._let_go(number)

    # -- what its calls ask of it

    async def remember(self, change: Change) -> None:
        """Write what a new worker must be told."""
        await self._owner.remember(self, change)

    def finished(self, call: Call, frame: bytes, number: int) -> None:
        """Hand on the answer of a call: to its waiter, or to the journal of its stream."""
        self.used_at = self._owner.now()
        if call.stream is not None:
            self._emit(call.stream, Kind.FINAL, frame, number, call.number)
        else:
            call.tell(frame)
            del call.waiter  # whoever still has the call must not keep its answer
            self.upstream.done(number, call.number)

    # -- helpers

    def _withdraw_questions(self, calls: list[Call]) -> None:
        """Tell the client that nobody waits any more for the answers to what its server had asked."""
        for asked_id in self._held.drop_questions():
            self._questions.drop(asked_id)  # the client has never seen it
        stream = self.streams.get(STANDALONE) or next((call.stream for call in calls if call.stream is not None), None)
        for number in self._questions.lost():
            if stream is None:
                self._let_go(number)
                continue
            params = {"requestId": str(number), "reason": "the MCP server that asked has ended"}
            self._emit(stream, Kind.MESSAGE, notification(CANCELLED, params), ends=number)

    async def _interrupt_by_crash(self, ended: Exit, calls: list[Call]) -> None:
        try:
            await self._owner.count_crash(self, ended)
        finally:
            self.calls.interrupt(calls, f"{how_it_ended(ended)}; {UNANSWERED}")
            self._let_go(ended.number)

    def _let_go(self, number: int) -> None:
        """Let the keeper forget a frame."""
        self.upstream.done(number)

    def _recall(self, message: Message, frame: bytes, number: int) -> None:
        """Take note of a message that the server before this one has journaled: what it asked is still open."""
        if message.id is not None:
            self._questions.ask(message.id, frame, number)
            return
        if message.method == CANCELLED:
            self._questions.withdraw(None if message.params is None else message.params.request_id, frame)
        self._let_go(number)

    def _said(self, message: Message, frame: bytes, number: int) -> None:
        method, params = message.method or "", message.params
        seen: bytes | None = frame
        if message.id is not None:
            seen = self._questions.ask(message.id, frame, number)
        elif method == CANCELLED:
            seen = self._questions.withdraw(None if params is None else params.request_id, frame)
        if seen is None:
            self._refuse_question(message.id, "too many questions wait for an answer")
            self._let_go(number)
            return
        frame = seen
        token = params.progress_token if params is not None else None
        standalone = self.streams.get(STANDALONE)
        listening = standalone is not None and standalone.outlet is not None
        audible = [call for call in self.calls.in_flight.values() if call.may_stream]
        target = route(method, token, self.calls.by_token, audible, listening)
        if target != "standalone" and target.inherited and target.stream is None:
            self._let_go(number)  # whoever asked never heard that an answer comes, so nobody waits for its progress
            return
        if target == "standalone" or not target.may_stream:
            if standalone is not None:
                self._emit(standalone, Kind.MESSAGE, frame, number, open_ended=message.id is not None)
            else:
                self._hold(Waiting(frame, message.id, number))
            return
        self.open_stream(target)
        if target.stream is not None:
            self._emit(target.stream, Kind.MESSAGE, frame, number, open_ended=message.id is not None)

    def _hold(self, waiting: Waiting) -> None:
        for _, asked_id, number in self._held.add(waiting):
            if asked_id is None:
                self._let_go(number)
            else:
                self._questions.drop(asked_id)
                self._refuse_question(asked_id, "nobody listens, and more is held for whoever will than may be")

    def _refuse_question(self, asked_id: RequestId | None, why: str) -> None:
        if asked_id is not None:
            self.upstream.send(error_answer(asked_id, UNAVAILABLE, why), first=True)

    def _emit(
        self,
        stream: Stream,
        kind: Kind,
        data: bytes = b"",
        number: int = 0,
        call: int = 0,
        *,
        open_ended: bool = False,
        ends: int = 0,
    ) -> None:
        """Journal a message, then send it and let the keeper forget it and its call, unless its end is still open.

        It may be what `ends` another one of that number instead.
        """
        owner = self._owner
        entry = stream.next_entry(kind, owner.term, owner.now(), data, number)
        if self.ended:  # its journal is gone; whoever still listens is told all the same
            self._publish_unjournaled(stream, entry, data)
            self._close_after(stream, entry)
            return

        def journaled(entry: Entry, error: HoldfastError | None) -> None:
            self._journaled(stream, entry, error)
            # What could not be written now, the next server can.
            if (number or call or ends) and not (open_ended or isinstance(error, Moved | Unavailable)):
                self.upstream.done(number or ends, call)

        owner.journaler.write(self.id, owner.term, entry, journaled)

    def _journaled(self, stream: Stream, entry: Entry, error: HoldfastError | None) -> None:
        if error is None:
            if entry.data or self.handshake.protocol >= PRIMED_SINCE:
                stream.publish(self.tag, entry)
        elif isinstance(error, Moved):  # the next server has it: whoever listens goes on there
            self._close_stream(stream, RETRY)
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
