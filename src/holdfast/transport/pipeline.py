"""READ FIRST: the way of a request through the edge.

    uvicorn → Edge.__call__ → post | get | delete → Host.find (404) → LiveSession → Upstream → keeper → worker

An answer comes back through `LiveSession.heard`: as JSON when the server answers at once, else as a stream whose
messages are journaled before they are sent. Source: MCP 2025-11-25, "Transports: Streamable HTTP".
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ..model import HoldfastError, Misused, NotFound, Refused, Unavailable
from ..model.jsonrpc import (
    GAP,
    INTERNAL_ERROR,
    Message,
    RequestId,
    error_answer,
    notification,
    one_line,
    parse,
)
from ..stores.contract import Entry, Journal, Kind
from .asgi import Receive, Scope, Send, read_body, send_answer, send_stream
from .host import Host
from .live import STANDALONE, Call, LiveSession
from .patience import Patience
from .problems import Problem, as_answer
from .rules import PROTOCOL_VERSIONS, is_local, lost_before, wants
from .sse import EventId, event, parse_event_id, unnumbered
from .streams import Outlet, Position, Stream

_log = logging.getLogger(__name__)

SESSION: Final = b"mcp-session-id"
VERSION: Final = b"mcp-protocol-version"
ORIGIN: Final = b"origin"
LAST_EVENT_ID: Final = b"last-event-id"
PAGE: Final = 100
SHUTTING_DOWN: Final = "the server is shutting down; try again"

Push: TypeAlias = Callable[[bytes], Awaitable[None]]
Verb: TypeAlias = Callable[[dict[bytes, bytes], Receive, Send, list[RequestId]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """How the edge answers. `answer` forces JSON or a stream; "auto" turns to a stream after `stream_after_s`."""

    path: str = "/mcp"
    answer: Literal["auto", "json", "stream"] = "auto"
    stream_after_s: float = 0.1
    frame_bytes_max: int = 10 * 2**20


class Edge:
    """The ASGI application."""

    def __init__(self, host: Host, journal: Journal, settings: EdgeSettings) -> None:
        self._host = host
        self._journal = journal
        self._settings = settings
        self._patience = Patience(settings.stream_after_s)
        self._verbs: dict[str, Verb] = {"POST": self._post, "GET": self._get, "DELETE": self._delete}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id: list[RequestId] = []  # filled in as soon as it is known, so that an error can name it
        try:
            headers = dict(scope["headers"])
            await self._verb(scope, headers)(headers, receive, send, request_id)
        except HoldfastError as error:
            await send_answer(send, *as_answer(error, request_id[0] if request_id else None))
        except Exception:
            _log.exception("a request failed")
            body = error_answer(request_id[0] if request_id else None, INTERNAL_ERROR, "internal error; see the log")
            await send_answer(send, 500, [], body)

    def _verb(self, scope: Scope, headers: dict[bytes, bytes]) -> Verb:
        if ORIGIN in headers and not is_local(headers[ORIGIN].decode("latin-1")):
            raise Problem(403, "pages of this origin may not use this server")
        if scope["path"] != self._settings.path:
            raise Problem(404, f"nothing is here; the MCP endpoint is {self._settings.path}")
        verb = self._verbs.get(scope["method"])
        if verb is None:
            raise Problem(405, "use POST, GET or DELETE", headers=[(b"allow", b"GET, POST, DELETE")])
        return verb

    # -- POST: one message of the client

    async def _post(
        self, headers: dict[bytes, bytes], receive: Receive, send: Send, request_id: list[RequestId]
    ) -> None:
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Problem(415, "send Content-Type: application/json")
        accept = headers.get(b"accept", b"").decode("latin-1")
        if not (wants(accept, "application/json") and wants(accept, "text/event-stream")):
            raise Problem(406, "send Accept: application/json, text/event-stream")
        body = await read_body(receive, self._settings.frame_bytes_max)
        message = parse(body)
        if message.is_request and message.id is not None:
            request_id.append(message.id)
        if SESSION not in headers:
            await self._initialize(message, body, send)
            return
        live = await self._find(headers)
        if message.is_request:
            await self._request(live, message, body, receive, send)
        elif message.is_answer:
            await live.answer(message, body)
            await send_answer(send, 202, [])
        else:
            await self._notify(live, message, body)
            await send_answer(send, 202, [])

    async def _initialize(self, message: Message, body: bytes, send: Send) -> None:
        if message.method != "initialize" or not message.is_request:
            raise Problem(400, "send the Mcp-Session-Id that initialize answered; without one, initialize first")
        if self._host.draining:
            raise Refused(SHUTTING_DOWN, wait_s=1.0)
        session_id, answer = await self._host.open(message, body)
        await send_answer(send, 200, [(SESSION, session_id.encode())] if session_id else [], answer)

    async def _request(self, live: LiveSession, message: Message, body: bytes, receive: Receive, send: Send) -> None:
        if message.method == "initialize":
            raise Misused("this session is initialized; initialize a new one without Mcp-Session-Id")
        await self._host.ready(live)
        if self._host.drained:
            raise Refused(SHUTTING_DOWN, wait_s=1.0)
        call = live.begin(message, body)
        self._bound_wait(live, call)
        live.upstream.send(one_line(body))
        answer = await call.waiter
        if isinstance(answer, Stream):
            await self._carry(live, answer, receive, send)
        else:
            await send_answer(send, 200, [], answer)

    def _bound_wait(self, live: LiveSession, call: Call) -> None:
        """See to it that the answer becomes a stream when it takes too long to be one piece of JSON."""
        if self._settings.answer == "auto":
            self._patience.wait_for(live, call)
        elif self._settings.answer == "stream":
            live.open_stream(call)
        else:
            call.may_stream = False

    async def _notify(self, live: LiveSession, message: Message, body: bytes) -> None:
        await self._host.ready(live)
        if message.method == "notifications/initialized":
            await self._host.initialized(live)
        await live.deliver(body)
        if message.method == "notifications/cancelled" and message.params is not None:
            live.cancelled(message.params.request_id)

    # -- GET: a stream for what belongs to no request, or the rest of one that broke off

    async def _get(
        self, headers: dict[bytes, bytes], receive: Receive, send: Send, request_id: list[RequestId]
    ) -> None:
        if not wants(headers.get(b"accept", b"").decode("latin-1"), "text/event-stream"):
            raise Problem(406, "send Accept: text/event-stream")
        live = await self._find(headers)
        outlet = Outlet()
        if LAST_EVENT_ID in headers:
            seen = parse_event_id(headers[LAST_EVENT_ID].decode("latin-1"), live.tag)
            if seen.stream == STANDALONE:
                with contextlib.suppress(Unavailable):  # what is kept is sent even if no server starts
                    await self._host.ready(live)
            stream = live.streams.get(seen.stream)
            if stream is not None:
                stream.attach(outlet)
                live.release(stream)
        else:
            await self._host.ready(live)
            stream = live.open_standalone(outlet)
            seen = EventId(STANDALONE, *stream.delivered)

        async def feed(push: Push) -> None:
            after = await self._replay(live, stream, seen, push)
            if stream is not None:
                stream.delivered = max(stream.delivered, after)
            while stream is not None and (chunk := await outlet.take(after)) is not None:
                await push(chunk)

        try:
            await send_stream(receive, send, outlet, feed)
        finally:
            if stream is not None:
                stream.detach(outlet)

    async def _carry(self, live: LiveSession, stream: Stream, receive: Receive, send: Send) -> None:
        """Send the stream of a call from its beginning, which nobody has listened to before."""
        outlet = stream.outlet
        if outlet is None:
            raise Refused(
                "the stream of this request goes on at another connection, or when the server is back", wait_s=1.0
            )

        async def feed(push: Push) -> None:
            while (chunk := await outlet.take()) is not None:
                await push(chunk)

        try:
            await send_stream(receive, send, outlet, feed)
        finally:
            stream.detach(outlet)

    async def _replay(self, live: LiveSession, stream: Stream | None, seen: EventId, push: Push) -> Position:
        """Send what the journal holds of a stream behind `seen`; return the position reached.

        What is missing is told: with a warning when the answer is still to come, for a client takes any error on a
        request's stream as its answer; else with an error.
        """
        at: Position = (seen.term, seen.seq)
        lost: int | None = 0 if stream is None or seen.seq < stream.next_seq else None
        entry: Entry | None = None
        while entries := await self._journal.read(live.id, seen.stream, after=at, limit=PAGE):
            for entry in entries:
                lost = lost_before(entry, at)
                if lost != 0:
                    await push(unnumbered(_warning(lost)))
                await push(event(live.tag, entry))
                at = (entry.term, entry.seq)
        if entry is None and (lost is None or (stream is None and not await self._is_final(live, seen))):
            await push(unnumbered(error_answer(None, GAP, "the rest of this stream is not kept any more")))
        return at

    async def _is_final(self, live: LiveSession, seen: EventId) -> bool:
        """Return whether the event a client has seen is the last one of its stream, so that nothing is missing."""
        found = await self._journal.read(live.id, seen.stream, after=(seen.term, seen.seq - 1), limit=1)
        return bool(found) and found[0].kind is Kind.FINAL

    # -- DELETE: the client is done

    async def _delete(
        self, headers: dict[bytes, bytes], receive: Receive, send: Send, request_id: list[RequestId]
    ) -> None:
        await self._host.end(await self._find(headers), None)
        await send_answer(send, 204, [])

    async def _find(self, headers: dict[bytes, bytes]) -> LiveSession:
        session_id = headers.get(SESSION)
        if not session_id:
            raise Problem(400, "send the Mcp-Session-Id that initialize answered")
        version = headers.get(VERSION)
        if version is not None and version.decode("latin-1") not in PROTOCOL_VERSIONS:
            raise Problem(400, f"MCP-Protocol-Version must be one of {', '.join(PROTOCOL_VERSIONS)}")
        try:
            name = session_id.decode()
        except UnicodeDecodeError as error:
            raise NotFound("no session has such an id") from error
        return await self._host.find(name)


def _warning(lost: int | None) -> bytes:
    number = "an unknown number of" if lost is None else str(lost)
    data = {"code": GAP, "lost": lost, "message": f"{number} messages of this stream are not kept any more"}
    return notification("notifications/message", {"level": "warning", "logger": "holdfast", "data": data})
