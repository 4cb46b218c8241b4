"""A session that is somebody else's is one that does not exist: in words, in headers, and in what is done for it."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from holdfast.identity import Authenticator, Principal
from holdfast.model import SystemClock, Unauthenticated
from holdfast.sessions import SessionManager
from holdfast.stores import MemoryStore
from holdfast.transport.host import Host, HostSettings
from holdfast.transport.pipeline import Edge, EdgeSettings
from holdfast.transport.places import Places
from holdfast.transport.streams import Journaler
from tests.transport.edges import Answered, EchoesOnly, ask

PING = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
TOLD = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
INITIALIZE = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
BATCH = b"[" + PING + b"]"
UNKNOWN = "f" * 32

ASKED: ContextVar[list[str] | None] = ContextVar("asked", default=None)


class CountingStore(MemoryStore):
    """Notes what is asked of it on behalf of one request, also by tasks that the request starts."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        asked = ASKED.get()
        if asked is not None and inspect.iscoroutinefunction(found):
            asked.append(name)
        return found


class Named:
    """Believes whoever says `issuer/subject`."""

    async def identify(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None) -> Principal:
        said = dict(headers).get(b"authorization")
        if said is None:
            raise Unauthenticated("say who you are", challenge="Named")
        return Principal(*said.decode().split("/"))


@asynccontextmanager
async def edge_of(store: MemoryStore, place: Path, authenticator: Authenticator | None = None) -> AsyncIterator[Edge]:
    clock = SystemClock()
    sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock)
    nothing = lambda: None  # noqa: E731 (a callback that does nothing)
    places, settings = Places(place), HostSettings()
    journaler = Journaler(store, pause=nothing, resume=nothing)
    host = Host(sessions, store, journaler, EchoesOnly(), places, clock, settings, term=await store.next_term())
    await host.start()
    yield Edge(host, store, EdgeSettings(answer="stream"), authenticator)
    await host.stop()


async def opened(edge: Edge, **headers: str) -> tuple[str, str]:
    """Return the id of a new session, and that of an event of it."""
    session = (await ask(edge, "POST", INITIALIZE, **headers)).headers[b"mcp-session-id"].decode()
    answered = await ask(edge, "POST", PING, mcp_session_id=session, **headers)
    return session, answered.body.split(b"\n")[0].removeprefix(b"id: ").decode()


async def observed(edge: Edge, verb: str, body: bytes, headers: dict[str, str]) -> tuple[Answered, list[str]]:
    """Return an answer and what the store was asked for it."""
    asked: list[str] = []
    token = ASKED.set(asked)
    try:
        return await ask(edge, verb, body, **headers), asked
    finally:
        ASKED.reset(token)


REQUESTS = [
    ("POST", PING, False),
    ("POST", TOLD, False),
    ("POST", INITIALIZE, False),
    ("POST", BATCH, False),
    ("GET", b"", False),
    ("GET", b"", True),
    ("DELETE", b"", False),
]


@pytest.mark.parametrize("is_live", [True, False], ids=["served here", "of a server before"])
@pytest.mark.parametrize("other", ["issuer/bob", "other/ann"])
@pytest.mark.parametrize(("verb", "body", "resumes"), REQUESTS, ids=lambda value: str(value)[:40])
async def test_somebody_elses_session_is_answered_and_looked_for_like_none(
    tmp_path: Path, verb: str, body: bytes, resumes: bool, other: str, is_live: bool
) -> None:
    """R-MCP-4, R-MCP-5."""
    store = CountingStore()
    async with edge_of(store, tmp_path, Named()) as edge:
        session, event = await opened(edge, authorization="issuer/ann")
    async with edge_of(store, tmp_path, Named()) as edge:
        if is_live:
            assert (await ask(edge, "POST", PING, mcp_session_id=session, authorization="issuer/ann")).status == 200
        headers = {"authorization": other} | ({"last_event_id": event} if resumes else {})
        unknown, for_unknown = await observed(edge, verb, body, headers | {"mcp_session_id": UNKNOWN})
        foreign, for_foreign = await observed(edge, verb, body, headers | {"mcp_session_id": session})
        assert (foreign.status, foreign.headers, foreign.body) == (unknown.status, unknown.headers, unknown.body)
        assert (foreign.status, for_foreign) == (404, for_unknown)
        assert for_unknown == ["get"]
        mine = await ask(edge, "POST", PING, mcp_session_id=session, authorization="issuer/ann")
        assert (mine.status, b'"method": "ping"' in mine.body) == (200, True)


@pytest.mark.parametrize("is_named", [True, False], ids=["made with a name", "made without"])
async def test_sessions_with_and_without_authentication_are_strangers(tmp_path: Path, is_named: bool) -> None:
    store = CountingStore()
    name = {"authorization": "issuer/ann"}
    ways: list[tuple[Authenticator | None, dict[str, str]]] = [(None, {}), (Named(), name)]
    (before, with_before), (after, with_after) = reversed(ways) if is_named else ways
    async with edge_of(store, tmp_path, before) as edge:
        session, _ = await opened(edge, **with_before)
    async with edge_of(store, tmp_path, after) as edge:
        unknown, for_unknown = await observed(edge, "POST", PING, with_after | {"mcp_session_id": UNKNOWN})
        foreign, for_foreign = await observed(edge, "POST", PING, with_after | {"mcp_session_id": session})
        assert (foreign.status, foreign.headers, foreign.body) == (unknown.status, unknown.headers, unknown.body)
        assert (foreign.status, for_foreign) == (404, for_unknown)


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
async def test_without_a_name_no_store_is_asked_and_no_body_read(tmp_path: Path, verb: str) -> None:
    """R-SEC-1: strangers cost next to nothing."""
    store = CountingStore()
    async with edge_of(store, tmp_path, Named()) as edge:
        session, _ = await opened(edge, authorization="issuer/ann")
        for known in (session, UNKNOWN):
            answered, asked = await observed(edge, verb, b"{", {"mcp_session_id": known})
            assert (answered.status, answered.headers[b"www-authenticate"], asked) == (401, b"Named", [])
            assert json.loads(answered.body)["id"] is None


async def test_many_strangers_at_once_do_not_disturb_the_owner(tmp_path: Path) -> None:
    """An adoption that fails for one principal must not fail for another."""
    store = MemoryStore()
    async with edge_of(store, tmp_path, Named()) as edge:
        session, _ = await opened(edge, authorization="issuer/ann")
    async with edge_of(store, tmp_path, Named()) as edge:
        names = ["issuer/bob", "issuer/ann", "other/ann"] * 10
        pings = [PING.replace(b'"id":2', b'"id":%d' % number) for number in range(len(names))]
        asking = [
            ask(edge, "POST", ping, mcp_session_id=session, authorization=name)
            for ping, name in zip(pings, names, strict=True)
        ]
        answers = await asyncio.gather(*asking)
    assert [answer.status for answer in answers] == [200 if name == "issuer/ann" else 404 for name in names]
