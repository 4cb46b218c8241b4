"""The edge as an ASGI application, where the real server cannot be made to fail on purpose."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.stdio import StdioSettings, StdioUpstreams
from holdfast.model import Unavailable
from holdfast.stores import FeedBounds, JournalBounds, MemoryStore
from holdfast.stores.sqlite import SqliteStore
from tests.gateway.workers import AGREED, PlannedWorker, PlannedWorkers
from tests.kit import LoopWatch, eventually_async

from .edges import EchoesOnly, FailingStore, ask, edge_on


async def test_a_session_that_cannot_be_deleted_now_is_not_half_gone(tmp_path: Path) -> None:
    store = FailingStore()
    async with edge_on(store, tmp_path) as (edge, session):
        store.failing = True
        refused = await ask(edge, "DELETE", mcp_session_id=session)
        assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
        store.failing = False
        ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
        assert (await ask(edge, "POST", ping, mcp_session_id=session)).status == 200
        assert (await ask(edge, "DELETE", mcp_session_id=session)).status == 204


async def test_an_answer_that_cannot_be_journaled_is_an_error_not_silence(tmp_path: Path) -> None:
    store = FailingStore()
    async with edge_on(store, tmp_path, answer="stream") as (edge, session):
        store.failing = True
        answered = await ask(edge, "POST", b'{"jsonrpc":"2.0","id":2,"method":"ping"}', mcp_session_id=session)
    assert answered.status == 200
    error = json.loads(answered.body.removeprefix(b"data: "))
    assert (error["id"], "the store is away" in error["error"]["message"]) == (2, True)


async def test_a_store_that_fails_unexpectedly_stops_no_stream(tmp_path: Path) -> None:
    store = FailingStore()
    ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
    async with edge_on(store, tmp_path, answer="stream") as (edge, session):
        store.failing, store.error = True, RuntimeError("a bug in a driver")
        answered = await ask(edge, "POST", ping, mcp_session_id=session)
        assert b"a bug in a driver" in answered.body
        store.failing = False
        assert b'"result"' in (await ask(edge, "POST", ping, mcp_session_id=session)).body


@pytest.mark.parametrize("verb", ["POST", "GET"])
async def test_a_session_that_ends_while_its_server_starts_is_not_found(tmp_path: Path, verb: str) -> None:
    def agrees_once(worker: PlannedWorker, message: dict[str, Any]) -> None:
        if message.get("method") == "initialize" and worker is workers.made[0]:
            worker.answer(message, AGREED)

    workers = PlannedWorkers(agrees_once)
    upstreams = StdioUpstreams(workers, StdioSettings())
    async with edge_on(MemoryStore(), tmp_path, upstreams=upstreams) as (edge, session):
        workers.made[0].end()
        ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}' if verb == "POST" else b""
        asking = asyncio.ensure_future(ask(edge, verb, ping, mcp_session_id=session))
        await eventually_async(lambda: len(workers.made) == 2)
        assert (await ask(edge, "DELETE", mcp_session_id=session)).status == 204
        assert (await asking).status == 404
        assert workers.alive == 0


async def test_an_answer_that_comes_too_late_is_taken_all_the_same(tmp_path: Path) -> None:
    """The question went with the process that asked it; the client has done its part."""
    upstreams = EchoesOnly()
    async with edge_on(MemoryStore(), tmp_path, upstreams=upstreams) as (edge, session):
        upstreams.made[0].gone = True
        for asker in ("1.0", "1.7", "0.0"):
            answer = json.dumps({"jsonrpc": "2.0", "id": f'{asker}:"q"', "result": {}}).encode()
            assert (await ask(edge, "POST", answer, mcp_session_id=session)).status == 202


async def test_a_server_that_does_not_read_is_given_no_more(tmp_path: Path) -> None:
    """R-LIM-3 and the bound of every queue: 503 and Retry-After, for notifications too."""
    upstreams = EchoesOnly()
    async with edge_on(MemoryStore(), tmp_path, upstreams=upstreams) as (edge, session):
        upstreams.made[0].full = True
        listing = b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}'
        for body in (listing, b'{"jsonrpc":"2.0","method":"notifications/x"}'):
            refused = await ask(edge, "POST", body, mcp_session_id=session)
            assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")


async def test_a_stream_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    store = FailingStore()
    async with edge_on(store, tmp_path, answer="stream") as (edge, session):
        answered = await ask(edge, "POST", b'{"jsonrpc":"2.0","id":2,"method":"ping"}', mcp_session_id=session)
        event_id = answered.body.split(b"\n")[0].removeprefix(b"id: ").decode()
        store.failing = True
        resumed = await ask(edge, "GET", mcp_session_id=session, last_event_id=event_id)
        assert (resumed.status, b"retry: " in resumed.body) == (200, True)
        store.failing = False
        again = await ask(edge, "GET", mcp_session_id=session, last_event_id=event_id)
        assert b'"method": "ping"' in again.body


async def test_a_stream_that_is_not_kept_any_more_says_so(tmp_path: Path) -> None:
    store = MemoryStore()
    async with edge_on(store, tmp_path, answer="stream") as (edge, session):
        answered = await ask(edge, "POST", b'{"jsonrpc":"2.0","id":2,"method":"ping"}', mcp_session_id=session)
        first = answered.body.split(b"\n")[0].removeprefix(b"id: ").decode()
        await store.trim(JournalBounds(age_s_max=0.0), edge._host.now() + 1)
        resumed = await ask(edge, "GET", mcp_session_id=session, last_event_id=first)
    assert (resumed.status, b"not kept any more" in resumed.body) == (200, True)


async def test_the_end_of_a_stream_is_not_a_gap(tmp_path: Path) -> None:
    async with edge_on(MemoryStore(), tmp_path, answer="stream") as (edge, session):
        answered = await ask(edge, "POST", b'{"jsonrpc":"2.0","id":2,"method":"ping"}', mcp_session_id=session)
        last = answered.body.split(b"\n\n")[1].split(b"\n")[0].removeprefix(b"id: ").decode()
        resumed = await ask(edge, "GET", mcp_session_id=session, last_event_id=last)
    assert (resumed.status, resumed.body) == (200, b"")


async def test_nothing_blocks_the_loop(tmp_path: Path) -> None:
    """R-PER-5: opening, streaming, sweeping, resuming and ending on a real store."""
    (tmp_path / "places").mkdir()
    opening = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
    ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
    async with (
        SqliteStore.open(tmp_path / "sessions.db") as store,
        edge_on(store, tmp_path / "places", answer="stream") as (edge, _),
    ):
        for watch in LoopWatch.rounds():
            with watch:
                opened = await asyncio.gather(*(ask(edge, "POST", opening) for _ in range(60)))
                sessions = [one.headers[b"mcp-session-id"].decode() for one in opened]
                for _ in range(3):
                    asked = (ask(edge, "POST", ping, mcp_session_id=session) for session in sessions)
                    answers = await asyncio.gather(*asked)
                    assert {answered.status for answered in answers} == {200}
                seen = [answered.body.split(b"\n")[0].removeprefix(b"id: ").decode() for answered in answers]
                resumed = await asyncio.gather(
                    *(
                        ask(edge, "GET", mcp_session_id=at, last_event_id=id_)
                        for at, id_ in zip(sessions, seen, strict=True)
                    )
                )
                assert all(b'"method": "ping"' in again.body for again in resumed)
                await edge._host.sweep()
                ended = await asyncio.gather(*(ask(edge, "DELETE", mcp_session_id=session) for session in sessions))
            assert {answered.status for answered in ended} == {204}


class Untrimmed(SqliteStore):
    """A store whose journal cannot be trimmed."""

    asked = 0

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        raise Unavailable("a page of the journal is damaged")

    async def trim_changes(self, bounds: FeedBounds, now: float) -> int:
        self.asked += 1
        return await super().trim_changes(bounds, now)


async def test_the_feed_is_trimmed_though_the_journal_cannot_be(tmp_path: Path) -> None:
    """R-MGR-7: its bounds are its own."""
    async with Untrimmed.open(tmp_path / "sessions.db") as store:
        assert isinstance(store, Untrimmed)
        async with edge_on(store, tmp_path) as (edge, _):
            edge._host._trimmed_at = 0.0  # it may have begun by itself
            with pytest.raises(Unavailable):
                await edge._host._trim()
            assert store.asked >= 1
