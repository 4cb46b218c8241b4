"""Time what the edge itself costs: processor time of its thread per request, without sockets, keeper and workers.

    python -m bench.edge_alone [--rounds 5] [--requests 4000] [--profile VARIANT]

Sixteen tasks call the echo tool on sixteen sessions, one call at a time each; the server behind the edge answers from
this process in the next turn of the loop. `driver` is the same load on an app that does nothing: what is left of a
figure after that is the edge's. Variants take turns, and the best round counts, for others can only make one slower.
With --profile, cProfile says instead where one of them spends its time. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import uvloop
from bench.empty_app import app as empty_app
from bench.http_load import HEADERS, INITIALIZE
from bench.peers import token_file

from holdfast.gateway.contract import Exit, Handshake, Hear
from holdfast.identity.bearer import BearerTokens
from holdfast.identity.tokens import TokenFile, TokenSettings
from holdfast.model import SystemClock
from holdfast.model.jsonrpc import RequestId
from holdfast.sessions import SessionManager
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.transport.host import Host, HostSettings
from holdfast.transport.pipeline import Edge, EdgeSettings
from holdfast.transport.places import Places
from holdfast.transport.streams import Journaler

TASKS: Final = 16
GARBAGE_THRESHOLD: Final = 20_000  # as the server has it
TOKEN: Final = secrets.token_urlsafe(32)
OPENED: Final = b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}'
CALL: Final = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
ANSWER: Final = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"hello"}],"isError":false}}'

Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[..., Awaitable[None]]


class Echo:
    """A session's server in this process; a request is answered in the next turn of the loop, as from a socket."""

    full = jammed = False

    def __init__(self, on_frame: Hear) -> None:
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()

    async def open(self, initialize: bytes, request_id: RequestId) -> bytes:
        return OPENED

    async def ready(self, handshake: Handshake) -> None:
        return

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        self._loop.call_soon(self._on_frame, ANSWER % int(frame[22 : frame.index(b",", 22)]), 0)

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        return

    async def stop(self) -> None:
        return

    async def attach(self) -> None:
        return None

    async def settled(self) -> None:
        return

    def go(self, handshake: Handshake) -> None:
        return

    def done(self, frame: int, call: int = 0) -> None:
        return

    async def confirm(self, stage: int) -> None:
        return

    def reached(self, stage: int) -> None:
        return

    def release(self) -> None:
        return


class Echoes:
    """Makes them."""

    def make(self, label: str, place: Path, *, on_frame: Hear, on_lost: Callable[[Exit], None]) -> Echo:
        return Echo(on_frame)

    async def orphan(self) -> str:
        await asyncio.Event().wait()  # there is none
        raise AssertionError


class Client:
    """One connection that stays, as ASGI shows it."""

    def __init__(self, app: App, headers: list[tuple[bytes, bytes]]) -> None:
        self._app = app
        self._headers = headers
        self._scope = {"type": "http", "path": "/mcp", "method": "POST", "client": ("127.0.0.1", 1), "headers": headers}
        self._body: bytes | None = None
        self._left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._chunks: list[bytes] = []
        self.session = b""

    async def post(self, body: bytes) -> bytes:
        """Return the whole answer."""
        self._body, self._chunks = body, []
        await self._app(dict(self._scope), self._receive, self._send)
        return b"".join(self._chunks)

    async def open(self) -> None:
        """Open a session, whose id is sent from then on."""
        await self.post(json.dumps(INITIALIZE).encode())
        self._scope["headers"] = [*self._headers, (b"mcp-session-id", self.session)]

    async def _receive(self) -> dict[str, Any]:
        body, self._body = self._body, None
        if body is None:
            await asyncio.shield(self._left)  # the client stays
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.session = self.session or dict(event["headers"]).get(b"mcp-session-id", b"")
        else:
            self._chunks.append(event["body"])


async def clients_of(app: App, token: str | None) -> list[Client]:
    """Return clients, each with a session that answers."""
    headers = [(b"host", b"127.0.0.1:8000"), *((name.lower().encode(), v.encode()) for name, v in HEADERS.items())]
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    clients = [Client(app, headers) for _ in range(TASKS)]
    for client in clients:
        await client.open()
        answer = await client.post(CALL % 2)
        if b"hello" not in answer:
            sys.exit(f"echo does not answer: {answer[:300]!r}")
    return clients


async def timed(clients: list[Client], requests: int) -> tuple[float, float]:
    """Return the microseconds of this thread's processor, and of the clock, for one request."""

    async def call(client: Client) -> None:
        for number in range(10, 10 + requests // TASKS):
            await client.post(CALL % number)

    cpu, clock = time.thread_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(call(client))
    done = requests // TASKS * TASKS
    return (time.thread_time() - cpu) / done * 1e6, (time.perf_counter() - clock) / done * 1e6


@asynccontextmanager
async def edge_on(
    store: MemoryStore | SqliteStore, place: Path, answer: Literal["auto", "stream"], authenticator: Any = None
) -> AsyncIterator[Edge]:
    """Give an edge on `store` with nothing but this process behind it."""

    def nothing() -> None:
        return

    clock = SystemClock()
    sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock)
    journaler = Journaler(store, pause=nothing, resume=nothing)
    host = Host(
        sessions, store, journaler, Echoes(), Places(place), clock, HostSettings(), term=await store.next_term()
    )
    await host.start()
    more = () if authenticator is None else (authenticator,)
    try:
        yield Edge(host, store, EdgeSettings(answer=answer), *more)
    finally:
        await host.stop()


@asynccontextmanager
async def variants(place: Path, names: list[str]) -> AsyncIterator[dict[str, list[Client]]]:
    """Give the clients of each variant that is asked for."""
    async with AsyncExitStack() as stack:
        made: dict[str, list[Client]] = {}
        for name in names:
            made[name] = await clients_of(
                await variant(stack, name, Path(tempfile.mkdtemp(dir=place))), TOKEN if name == "token" else None
            )
        yield made


async def variant(stack: AsyncExitStack, name: str, place: Path) -> App:
    """Return the app of one variant."""
    if name == "driver":
        return empty_app
    store = MemoryStore()
    if name == "stream, SQLite":
        return await stack.enter_async_context(
            edge_on(await stack.enter_async_context(SqliteStore.open(place / "db")), place, "stream")
        )
    if name == "token":
        return await stack.enter_async_context(edge_on(store, place, "auto", await known_token(stack, place)))
    return await stack.enter_async_context(edge_on(store, place, "stream" if name == "stream" else "auto"))


async def known_token(stack: AsyncExitStack, place: Path) -> Any:
    """Return what knows the one token there is."""
    settings = TokenSettings(token_file(place / "tokens", TOKEN))
    return BearerTokens([await stack.enter_async_context(TokenFile.open(settings))], None)


async def measure(names: list[str], rounds: int, requests: int) -> dict[str, Any]:
    """Return the best round of each variant."""
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place:
        async with variants(Path(place), names) as made:
            gc.collect()
            gc.freeze()
            gc.set_threshold(GARBAGE_THRESHOLD, 50, 100)
            for _ in range(rounds):
                for name, clients in made.items():
                    best[name] = min(best.get(name, (1e9, 1e9)), await timed(clients, requests))
    return {
        "name": "edge alone",
        "cpu_us_per_request": {name: round(cpu, 1) for name, (cpu, _) in best.items()},
        "clock_us_per_request": {name: round(clock, 1) for name, (_, clock) in best.items()},
    }


async def profiled(name: str, requests: int) -> str:
    """Return the functions that took most of the time of one variant, microseconds per request."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place:
        async with variants(Path(place), [name]) as made:
            profile = cProfile.Profile()
            profile.enable()
            await timed(made[name], requests)
            profile.disable()
    rows = []
    for (file, line, function), (_, calls, own, total, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # typeshed does not know it
        where = f"{Path(file).parent.name}/{Path(file).name}:{line} {function}"
        rows.append((own / requests * 1e6, total / requests * 1e6, calls / requests, where))
    head = "own us   total us  calls  function\n"
    return head + "\n".join(f"{o:6.2f} {t:9.2f} {c:6.2f}  {w}" for o, t, c, w in sorted(rows, reverse=True)[:45])


def main() -> None:
    names = ["driver", "plain", "token", "stream", "stream, SQLite"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="of one round of one variant")
    parser.add_argument("--only", action="append", choices=names, metavar="VARIANT", help=", ".join(names))
    parser.add_argument("--profile", choices=names, metavar="VARIANT", help="one of the same")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.profile:
            print(runner.run(profiled(options.profile, options.requests)))
        else:
            chosen = [name for name in names if not options.only or name in options.only]
            print(json.dumps(runner.run(measure(chosen, options.rounds, options.requests))))


if __name__ == "__main__":
    main()
