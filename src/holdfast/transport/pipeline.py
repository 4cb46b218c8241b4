"""READ FIRST: the way of a request through the edge.

    uvicorn → Edge.__call__ → door → identity → post | get | delete → Host.find (404) → LiveSession → Upstream
            → keeper → worker

An answer comes back through `LiveSession.heard`: as JSON when the server answers at once, else as a stream whose
messages are journaled before they are sent. Source: MCP 2025-11-25, "Transports: Streamable HTTP".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias

from ..gateway.rules import note_of
from ..identity.contract import Authenticator
from ..model import HoldfastError, Misused, NotFound, Refused, Unavailable
from ..model.jsonrpc import INTERNAL_ERROR, Message, error_answer, one_line
from ..observability import begin_request, end_request
from ..stores.contract import Journal
from .asgi import Exchange, Push, Receive, Scope, Send, UnderWay
from .calls import PING, Call
from .door import METHODS, Door, DoorSettings
from .health import Health
from .host import Host
from .listen import Listening
from .live import LiveSession
from .patience import Patience
from .problems import Problem
from .public import PublicPages
from .reading import read_batch, read_message
from .rules import BATCHES, PRIMED_SINCE, PROTOCOL_VERSIONS, SPOKEN_BY_OLD_SERVERS, wants
from .session_header import SESSION, header_of, id_from
from .sse import COMMENT
from .streams import Stream

_log = logging.getLogger(__name__)

VERSION: Final = b"mcp-protocol-version"
LAST_EVENT_ID: Final = b"last-event-id"
UNSUPPORTED_VERSION: Final = -32022
DISCOVER: Final = "server/discover"
LATER: Final = "2026-07-28"
KNOWN_VERSIONS: Final = frozenset({None, SPOKEN_BY_OLD_SERVERS, *PROTOCOL_VERSIONS})
SETTLES_S: Final = 2.0
SETTLE_POLL_S: Final = 0.005
SHUTTING_DOWN: Final = "the server is shutting down; try again"

Verb: TypeAlias = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """How the edge answers. `answer` forces JSON or a stream; "auto" turns to a stream after `stream_after_s`.

    With `poll_after_s` no connection waits longer for the answer of a call: it ends, and the client comes back.
    """

    path: str = "/mcp"
    answer: Literal["auto", "json", "stream"] = "auto"
    stream_after_s: float = 0.1
    poll_after_s: float | None = None
    frame_bytes_max: int = 10 * 2**20
    bodies_bytes_max: int = 256 * 2**20
    door: DoorSettings = field(default_factory=DoorSettings)


class Edge:
    """The ASGI application."""

    def __init__(
        self,
        host: Host,
        journal: Journal,
        settings: EdgeSettings,
        authenticator: Authenticator | None = None,
        public: PublicPages | None = None,
        health: Health | None = None,
    ) -> None:
        self._host = host
        self._settings = settings
        self._authenticator = authenticator
        self._door = Door(settings.door)
        self._public = public or PublicPages({})
        self._health = health
        self._listening = Listening(host, journal, settings.poll_after_s)
        self._under_way = UnderWay(settings.bodies_bytes_max)
        self._patience = Patience(settings.stream_after_s)
        self._verbs: dict[str, Verb] = {"POST": self._post, "GET": self._get, "DELETE": self._delete}
        self._arriving: set[Exchange] = set()

    async def settle(self) -> None:
        """Return when every request here is begun: what is left of it the host can end, or leave to the next server.

        It takes at most `SETTLES_S` seconds.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + SETTLES_S
        while loop.time() < ends_at:
            if all(exchange.status for exchange in self._arriving):
                break
            await asyncio.sleep(SETTLE_POLL_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        self._arriving.add(exchange)
        handling = begin_request(exchange)
        try:
            if exchange.path != self._settings.path and await self._serve_page(exchange):
                return
            self._door.admit(exchange)
            if exchange.method == "OPTIONS":
                await self._door.options(exchange)
                return
            verb = self._verb(exchange)
            if self._authenticator is not None:
                exchange.identify_again = partial(_owner, self._authenticator, scope)
                exchange.owner = await exchange.identify_again()
            await verb(exchange)
        except HoldfastError as error:
            await exchange.fail(error)
        except Exception:
            _log.exception("a request failed")
            body = error_answer(exchange.message_id, INTERNAL_ERROR, "internal error; see the log")
            await exchange.answer(500, [], body)
        finally:
            _log.debug("%s %s answered %d", exchange.method, exchange.path, exchange.status)
            end_request(handling)
            self._arriving.discard(exchange)

    async def _serve_page(self, exchange: Exchange) -> bool:
        """Answer a request for a page that is there for every Host and Origin; return whether it was for one."""
        if self._health is not None and await self._health.serve(exchange):
            return True
        return await self._public.serve(exchange)

    def _verb(self, exchange: Exchange) -> Verb:
        if exchange.path != self._settings.path:
            raise Problem(404, f"nothing is here; the MCP endpoint is {self._settings.path}")
        verb = self._verbs.get(exchange.method)
        if verb is None:
            raise Problem(405, "use POST, GET or DELETE", headers=[(b"allow", METHODS)])
        return verb

    # -- POST: what the client says

    async def _post(self, exchange: Exchange) -> None:
        headers = exchange.headers
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Problem(415, "send Content-Type: application/json")
        accept = headers.get(b"accept", b"").decode("latin-1")
        streams = self._settings.answer != "json"
        if not (wants(accept, "application/json") and (wants(accept, "text/event-stream") or not streams)):
            raise Problem(406, "send Accept: application/json, text/event-stream")
        body = await exchange.body(self._settings.frame_bytes_max, self._under_way)
        if body.lstrip()[:1] == b"[":
            await self._batch(exchange, body)
            return
        message = await read_message(body)
        if message.is_request:
            exchange.message_id = message.id
        _check_version(headers, message)
        if SESSION not in headers:
            await self._initialize(exchange, message, body)
            return
        live = await self._find(exchange)
        if message.is_request:
            await self._request(exchange, live, message, body)
        else:
            live.calls.check_room(message, body)
            await self._tell(live, message, body)
            await exchange.answer(202)

    async def _initialize(self, exchange: Exchange, message: Message, body: bytes) -> None:
        if message.method != "initialize" or not message.is_request:
            raise Problem(400, "send the Mcp-Session-Id that initialize answered; without one, initialize first")
        if self._host.draining:
            raise Refused(SHUTTING_DOWN, wait_s=1.0)
        self._arriving.discard(exchange)
        exchange.session_id, answer = await self._host.open(message, body, exchange.owner)
        await exchange.answer(200, [(SESSION, header_of(exchange.session_id))] if exchange.session_id else [], answer)

    async def _request(self, exchange: Exchange, live: LiveSession, message: Message, body: bytes) -> None:
        await self._ready_for(live, message)
        call = live.calls.begin(message, body)
        waiter = call.waiter
        self._bound_wait(live, call)
        try:
            self._send(live, call, message, body)
        except HoldfastError:
            live.calls.give_up([call])
            raise
        answer = await waiter
        if isinstance(answer, Stream):
            await self._carry(exchange, live, answer)
        else:
            await exchange.answer(200, None, answer)

    def _send(self, live: LiveSession, call: Call, message: Message, body: bytes) -> None:
        """Pass a request on."""
        frame = one_line(body)
        live.upstream.send(frame, first=message.method == PING, call=call.number, note=note_of(message, frame))

    async def _ready_for(self, live: LiveSession, *messages: Message) -> None:
        if any(message.method == "initialize" for message in messages):
            raise Misused("this session is initialized; initialize a new one without Mcp-Session-Id")
        await self._host.ready(live)
        if self._host.drained:
            raise Refused(SHUTTING_DOWN, wait_s=1.0)

    def _bound_wait(self, live: LiveSession, call: Call) -> None:
        """See to it that the answer becomes a stream when it takes too long to be one piece of JSON."""
        if self._settings.answer == "auto":
            self._patience.wait_for(live, call)
        elif self._settings.answer == "stream":
            live.open_stream(call)
        else:
            live.calls.answer_whole(call)

    async def _carry(self, exchange: Exchange, live: LiveSession, stream: Stream) -> None:
        """Send the stream of a call from its beginning, which nobody has listened to before."""
        outlet = stream.outlet
        first = None
        if outlet is not None:  # an older client gets no opening, and shall know that its request came
            first = COMMENT if live.handshake.protocol < PRIMED_SINCE else await outlet.take()
        if (outlet is None or first is None) and live.ending:
            raise NotFound("the session has ended")
        if outlet is None or first is None:
            raise Refused(
                "the stream of this request goes on at another connection, or when the server is back", wait_s=1.0
            )

        async def feed(push: Push) -> None:
            await push(first)
            while (chunk := await outlet.take()) is not None:
                await push(chunk)

        try:
            await exchange.stream(outlet, feed, within_s=self._listening.visit_s(live))
        finally:
            stream.detach(outlet)

    async def _tell(self, live: LiveSession, message: Message, body: bytes) -> None:
        """Pass on what wants no answer: an answer to a question of the server, or a notification."""
        if message.is_answer:
            await live.answer(message, body)
            return
        await self._ready_for(live, message)
        if message.method == "notifications/initialized":
            await live.notify(message, body, reaches=2)
            await self._host.initialized(live)
        else:
            await live.notify(message, body)

    async def _batch(self, exchange: Exchange, body: bytes) -> None:
        """Take several messages at once, as protocol 2025-03-26 has it, and answer them together.

        What can be refused is found before the first message is passed on.
        """
        _check_version(exchange.headers)
        live = await self._find(exchange)
        if live.handshake.protocol != BATCHES:
            raise Misused(f"batches are part of protocol {BATCHES} only; send one message a request")
        messages = await read_batch(body)
        await self._ready_for(live, *(message for message, _ in messages))
        for message, part in messages:
            live.calls.check_room(message, part)
        calls = live.calls.begin_all([(message, part) for message, part in messages if message.is_request])
        waiters = [call.waiter for call in calls]
        for call in calls:
            live.calls.answer_whole(call)
        begun = iter(calls)
        try:
            for message, part in messages:
                if message.is_request:
                    self._send(live, next(begun), message, part)
                else:
                    await self._tell(live, message, part)
        except HoldfastError as error:
            live.calls.give_up(calls)
            raise Unavailable(f"part of the batch was passed on, then: {error}") from error
        if not calls:
            await exchange.answer(202)
            return
        answers = [answer for waiter in waiters if isinstance(answer := await waiter, bytes)]
        await exchange.answer(200, None, b"[%s]" % b",".join(answers))

    # -- GET and DELETE

    async def _get(self, exchange: Exchange) -> None:
        if not wants(exchange.headers.get(b"accept", b"").decode("latin-1"), "text/event-stream"):
            raise Problem(406, "send Accept: text/event-stream")
        _check_version(exchange.headers)
        live = await self._find(exchange)
        await self._listening.serve(exchange, live, exchange.headers.get(LAST_EVENT_ID))

    async def _delete(self, exchange: Exchange) -> None:
        _check_version(exchange.headers)
        await self._host.end(await self._find(exchange), None)
        await exchange.answer(204)

    async def _find(self, exchange: Exchange) -> LiveSession:
        session_id = exchange.headers.get(SESSION)
        if not session_id:
            raise Problem(400, "send the Mcp-Session-Id that initialize answered")
        name = id_from(session_id)
        if name is None:
            raise NotFound("no session has such an id")
        exchange.session_id = name
        return await self._host.find(name, exchange.owner)


async def _owner(authenticator: Authenticator, scope: Scope) -> str:
    client = scope.get("client")
    peer = None if client is None else str(client[0])
    return (await authenticator.identify(scope["headers"], peer)).owner


def _check_version(headers: dict[bytes, bytes], message: Message | None = None) -> None:
    """Refuse protocols that are not served, in the words that make a newer client fall back to `initialize`.

    Such a client tells its protocol in the message; the header is there for what lies in between.
    Source: MCP 2026-07-28, "Versioning".
    """
    given = headers.get(VERSION)
    told = None
    if message is not None and message.params is not None and message.params.meta is not None:
        told = message.params.meta.protocol
    version = None if given is None else given.decode("latin-1")
    discovers = message is not None and message.method == DISCOVER
    if version in KNOWN_VERSIONS and (told is None or told in PROTOCOL_VERSIONS) and not discovers:
        return
    requested = told if isinstance(told, str) else version if version is not None else LATER
    data = {"supported": PROTOCOL_VERSIONS, "requested": requested}
    words = f"this server speaks {', '.join(PROTOCOL_VERSIONS)}; initialize with one of them"
    raise Problem(400, words, code=UNSUPPORTED_VERSION, data=data)
