"""The edge in this process, servers that each know a secret, and a judge of everything that is said.

A finding is an `AssertionError`: a 500, a hang, a task that is left, another session's data, a frame that is not one
line, or a log entry that only a fault of ours leaves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from holdfast.gateway.contract import Exit, Hear
from holdfast.gateway.stdio import StdioSettings, StdioUpstreams
from holdfast.identity.contract import Principal
from holdfast.model import SystemClock, Unauthenticated
from holdfast.sessions import SessionManager
from holdfast.stores import MemoryStore
from holdfast.transport.host import Host, HostSettings
from holdfast.transport.pipeline import Edge, EdgeSettings
from holdfast.transport.places import Places
from holdfast.transport.streams import Journaler
from tests.gateway.workers import Lone

from .steps import OWNERS, SESSIONS, Step, initialize

HANG_S: Final = 30.0
ODD_FRAMES: Final = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff",
    b"starting up",
    b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","id":"nobody asked","result":{}}',
    b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}',
    b'{"jsonrpc":"2.0","id":18446744073709551616,"method":"roots/list"}',
    b'{"jsonrpc":"2.0","id":"a:b","method":"ping"}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":{}}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":[]}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/message","params":{"x":' + b"[" * 500 + b"]" * 500 + b"}}",
    b'{"jsonrpc":"2.0","method":"a","params":' + b"[" * 5000 + b"]" * 5000 + b"}",
    '{"jsonrpc":"2.0",\r"method":"notifications/message","params":{"data":"\u2028data: x\u2029"}}'.encode(),
)
"""What a server may write to stdout besides messages."""

SECRET: Final = re.compile(rb"secret-[0-9a-f]{16}")
EVENT_ID: Final = re.compile(rb"^id: (.+)$", re.MULTILINE)
STATUSES: Final = frozenset({200, 202, 204, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 421, 503})
USUAL: Final = (
    (b"host", b"127.0.0.1:8000"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
)


class SecretWorker(Lone):
    """A server that puts its secret into all it says, and answers every request it gets at once."""

    def __init__(self, secret: str, on_frame: Hear, on_exit: Callable[[Exit], None]) -> None:
        self._secret = secret
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._ended = False
        self._questions = 0
        self._number = secrets.randbits(62)

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        assert not set(frame) & set(b"\r\n"), f"a frame of several lines: {frame!r}"
        if self._ended:
            return
        message = json.loads(frame, object_pairs_hook=_each_once)
        method = message.get("method")
        if method == "die":
            self._end(Exit(1, None, "it exited with code 1"))
        elif method is not None and "id" in message:
            self._answer(message["id"], method, message.get("params"))

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        self.send(frame)

    async def stop(self, *, grace_s: float) -> None:
        self._end(Exit(0, None, "it was stopped"))

    def _answer(self, asked_id: Any, method: str, params: Any) -> None:
        spoken = params.get("protocolVersion") if isinstance(params, dict) else None
        if method == "odd":
            for frame in ODD_FRAMES:
                self._tell(frame)
        if method == "log":
            self._say(method="notifications/message", params={"level": "info", "data": self._secret})
        if method == "ask":
            self._questions += 1
            self._say(id=self._questions, method="sampling/createMessage", params={"data": self._secret})
        self._say(id=asked_id, result={"protocolVersion": spoken or "2025-11-25", "secret": self._secret})

    def _say(self, **members: Any) -> None:
        self._tell(json.dumps({"jsonrpc": "2.0", **members}).encode())

    def _tell(self, frame: bytes) -> None:
        self._number += 1
        self._on_frame(frame, self._number)

    def _end(self, ended: Exit) -> None:
        if not self._ended:
            self._ended = True
            self._on_exit(ended)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = {name for name, _ in pairs}
    assert "jsonrpc" not in names or len(names) == len(pairs), f"a message that can be read in two ways: {pairs}"
    return dict(pairs)


class SecretWorkers(Lone):
    """Starts such servers; `secrets` are those of each session's folder."""

    def __init__(self) -> None:
        self.secrets: dict[Path, set[bytes]] = defaultdict(set)

    async def spawn(self, label: str, place: Path, *, on_frame: Hear, on_exit: Callable[[Exit], None]) -> SecretWorker:
        secret = f"secret-{secrets.token_hex(8)}"
        self.secrets[place].add(secret.encode())
        return SecretWorker(secret, on_frame, on_exit)


class Badges:
    """Believes everybody who says a name."""

    async def identify(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None) -> Principal:
        names = [value for name, value in headers if name == b"x-user"]
        if len(names) != 1:
            raise Unauthenticated("say who you are", challenge="Badge")
        return Principal("badges", names[0].decode("latin-1"))


class Heard:
    """What one request was answered, and the client that may leave before."""

    def __init__(self, step: Step) -> None:
        self._chunks = step.chunks
        self._leave_after = step.leave_after
        self.step = step
        self._received = 0
        self.left = asyncio.Event()
        self.status = 0
        self.session = b""
        self.body = b""
        self.complete = False

    async def receive(self) -> Any:
        if self._leave_after is not None and self._received >= self._leave_after:
            self.left.set()
        if self.left.is_set():
            return {"type": "http.disconnect"}
        if self._received < len(self._chunks):
            self._received += 1
            more = self._received < len(self._chunks)
            return {"type": "http.request", "body": self._chunks[self._received - 1], "more_body": more}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Any) -> None:
        if event["type"] == "http.response.start":
            assert self.status == 0, "an answer begins once"
            self.status = event["status"]
            self.session = dict(event["headers"]).get(b"mcp-session-id", b"")
            for name, value in event["headers"]:
                assert not set(name + value) & set(b"\r\n\0"), f"a header that is more than one: {name!r}: {value!r}"
        else:
            assert self.status and not self.complete, "a body comes behind its head and ends once"
            self.body += event["body"]
            self.complete = not event.get("more_body", False)


class Faults(logging.Handler):
    """Takes note of what only a fault of ours logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))


class World:
    """One edge, its sessions, and all that was asked of it."""

    def __init__(self, edge: Edge, workers: SecretWorkers, places: Places) -> None:
        self._edge = edge
        self._workers = workers
        self._places = places
        self.sessions: list[bytes] = []
        self._seen_id = b""
        self.asked: list[tuple[Heard, bytes, asyncio.Task[None]]] = []

    async def play(self, steps: Sequence[Step]) -> list[int]:
        """Play a conversation, judge it, and return the statuses of its answers."""
        for number in range(SESSIONS):
            opened = await self._ask(Step(session=None, body=initialize(number), user=OWNERS[number]))
            self.sessions.append(opened.session)
        for step in steps:
            await self._ask(step)
        await self._all_leave()
        return [heard.status for heard, _, _ in self.asked[SESSIONS:]]

    async def _ask(self, step: Step) -> Heard:
        heard, session = Heard(step), self._session_of(step)
        headers = [*(USUAL if step.usual else ()), *step.headers]
        if session is not None:
            headers.append((b"mcp-session-id", session))
        if step.resumes and self._seen_id:
            headers.append((b"last-event-id", self._seen_id))
        if step.user is not None:
            headers.append((b"x-user", step.user))
        named = [value for name, value in headers if name == b"mcp-session-id"]
        scope = {"type": "http", "path": step.path, "method": step.verb, "headers": headers, "client": ("::1", 5)}
        task = asyncio.ensure_future(self._edge(scope, heard.receive, heard.send))
        self.asked.append((heard, named[0] if len(named) == 1 else b"", task))
        if step.waits and step.verb == "GET":
            await asyncio.sleep(0)
        elif step.waits:
            await asyncio.wait({task}, timeout=HANG_S)
            assert task.done(), f"{step} hangs"
        for event_id in EVENT_ID.findall(heard.body)[-1:]:
            self._seen_id = event_id
        return heard

    def _session_of(self, step: Step) -> bytes | None:
        if step.session is None:
            return None
        return self.sessions[step.session] if step.session < len(self.sessions) else b"f" * 32

    async def _all_leave(self) -> None:
        calls = {task for heard, _, task in self.asked if not task.done()}
        await asyncio.wait(calls, timeout=0.03) if calls else None
        for heard, _, _ in self.asked:
            heard.left.set()
        if calls:
            _, hanging = await asyncio.wait(calls, timeout=HANG_S)
            assert not hanging, f"{len(hanging)} requests hang although their clients have left"
        for heard, session, task in self.asked:
            task.result()
            self.judge(heard, session)

    def judge(self, heard: Heard, session: bytes) -> None:
        assert heard.status in STATUSES, f"status {heard.status}: {heard.body[:500]!r}"
        assert heard.complete, f"an answer without an end: {heard.body[:500]!r}"
        told = set(SECRET.findall(heard.body))
        if session in self.sessions and heard.step.user != OWNERS[self.sessions.index(session)]:
            may_succeed = heard.step.verb == "OPTIONS" or heard.step.path != "/mcp"
            assert may_succeed or heard.status >= 400, f"somebody else was let in: {heard.status}"
            session = b""
        theirs = {name.decode("utf-8", "replace") for name in (session, heard.session) if name}
        known = set[bytes]().union(*(self._workers.secrets.get(self._places.of(name), set()) for name in theirs))
        assert told <= known, f"another session's data: {heard.body[:500]!r}"


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Make a world, and see that nothing of it is left at its end."""
    root = Path(tempfile.mkdtemp(prefix="holdfast-fuzz-"))
    faults = Faults()
    logging.getLogger().addHandler(faults)
    before = asyncio.all_tasks()
    try:
        async with _edge(root) as made:
            yield made
        await _gone(before)
        assert not faults.found, f"a fault of ours: {faults.found[0]}"
    finally:
        logging.getLogger().removeHandler(faults)
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def _edge(root: Path) -> AsyncIterator[World]:
    store, clock, workers, places = MemoryStore(), SystemClock(), SecretWorkers(), Places(root)
    sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock)
    upstreams = StdioUpstreams(workers, StdioSettings())

    def nothing() -> None:
        return

    journaler = Journaler(store, pause=nothing, resume=nothing)
    host = Host(sessions, store, journaler, upstreams, places, clock, HostSettings(), term=await store.next_term())
    await host.start()
    try:
        yield World(Edge(host, store, EdgeSettings(stream_after_s=0.005), Badges()), workers, places)
    finally:
        await host.stop()


async def _gone(before: set[asyncio.Task[Any]]) -> None:
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=HANG_S)
    assert not left, f"tasks that are left: {left}"
