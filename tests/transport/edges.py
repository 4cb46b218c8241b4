"""The edge as an ASGI application in this process, with a server and a store that can be made to fail on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from holdfast.gateway.contract import Exit, Handshake, Hear, Upstreams
from holdfast.model import HoldfastError, SystemClock, Unavailable
from holdfast.model.jsonrpc import RequestId, parse
from holdfast.model.session import Record
from holdfast.sessions import SessionManager
from holdfast.stores import Entry, MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.transport.host import Host, HostSettings
from holdfast.transport.pipeline import Edge, EdgeSettings
from holdfast.transport.places import Places
from holdfast.transport.streams import Journaler
from tests.gateway.workers import Lone

HEADERS = [
    (b"host", b"localhost"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
]
INITIALIZED = b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}'


class Echoes(Lone):
    """An upstream in this process: answers each request with its own method."""

    def __init__(self, on_frame: Hear) -> None:
        self.on_frame = on_frame
        self.gone = False

    async def open(self, initialize: bytes, request_id: RequestId) -> bytes:
        return INITIALIZED

    async def ready(self, handshake: Handshake) -> None:
        return

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        message = parse(frame)
        answer = {"jsonrpc": "2.0", "id": message.id, "result": {"method": message.method}}
        self.on_frame(json.dumps(answer).encode(), 0)

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        if self.gone:
            raise Unavailable("the worker ended before it got the message")

    async def stop(self) -> None:
        return


class EchoesOnly(Lone):
    """Makes upstreams that echo."""

    def __init__(self) -> None:
        self.made: list[Echoes] = []

    def make(self, label: str, place: Path, *, on_frame: Hear, on_lost: Callable[[Exit], None]) -> Echoes:
        self.made.append(Echoes(on_frame))
        return self.made[-1]


class FailingStore(MemoryStore):
    """A store that is away while `failing`."""

    failing = False
    error: Exception = Unavailable("the store is away")

    async def append(self, batches: Any) -> list[HoldfastError | None]:
        self._maybe_fail()
        return await super().append(batches)

    async def read(self, session_id: str, stream: str, *, after: tuple[int, int], limit: int = 1000) -> list[Entry]:
        self._maybe_fail()
        return await super().read(session_id, stream, after=after, limit=limit)

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        self._maybe_fail()
        return await super().delete(session_id, expect=expect, durable=durable)

    def _maybe_fail(self) -> None:
        if self.failing:
            raise self.error


class Answered:
    """What one request to the edge was answered."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def send(self, event: Any) -> None:
        if event["type"] == "http.response.start":
            assert self.status == 0, "an answer begins once"
            self.status, self.headers = event["status"], dict(event["headers"])
        else:
            self.body += event["body"]


async def ask(edge: Edge, verb: str, body: bytes = b"", **headers: str) -> Answered:
    answered = Answered()
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    events = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(events, None) or await asyncio.Event().wait()  # the client stays

    await edge({"type": "http", "path": "/mcp", "method": verb, "headers": [*HEADERS, *more]}, receive, answered.send)
    return answered


@asynccontextmanager
async def edge_on(
    store: MemoryStore | SqliteStore,
    tmp_path: Path,
    upstreams: Upstreams | None = None,
    *,
    bounds: HostSettings | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Edge, str]]:
    """Open an edge and a session on it; `settings` are those of the edge, `bounds` those of the host."""
    clock = SystemClock()
    sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock)
    nothing = lambda: None  # noqa: E731 (a callback that does nothing)
    host = Host(
        sessions,
        store,
        Journaler(store, pause=nothing, resume=nothing),
        upstreams or EchoesOnly(),
        Places(tmp_path),
        clock,
        bounds or HostSettings(),
        term=await store.next_term(),
    )
    await host.start()
    edge = Edge(host, store, EdgeSettings(**settings))
    opened = await ask(edge, "POST", b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')
    yield edge, opened.headers[b"mcp-session-id"].decode()
    await host.stop()
