"""What becomes of a session when its worker ends, or when its server has to leave it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.stdio import StdioSettings, StdioUpstreams
from holdfast.model import Moved
from holdfast.model.jsonrpc import parse_frame
from holdfast.model.session import Record
from holdfast.stores import MemoryStore
from holdfast.transport.host import HostSettings
from holdfast.transport.streams import Outlet
from tests.gateway.workers import AGREED, PlannedWorker, PlannedWorkers
from tests.kit import eventually_async

from .edges import ask, edge_on


class SlowStore(MemoryStore):
    """A store whose records are written when they may be."""

    def __init__(self) -> None:
        super().__init__()
        self.may_put = asyncio.Event()
        self.may_put.set()
        self.putting = 0

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        self.putting += 1
        await self.may_put.wait()
        await super().put(record, expect=expect, durable=durable)


def answer_all(worker: PlannedWorker, message: dict[str, Any]) -> None:
    if "id" in message:
        worker.answer(message, AGREED)


async def test_no_worker_is_started_before_the_crash_of_the_last_one_is_recorded(tmp_path: Path) -> None:
    """The keeper forgets that end when the next one starts: who died in between would not have counted it."""
    workers, store = PlannedWorkers(answer_all), SlowStore()
    async with edge_on(store, tmp_path, StdioUpstreams(workers, StdioSettings())) as (edge, session):
        store.may_put.clear()
        before = store.putting
        workers.made[0].end()
        listing = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).encode()
        asking = asyncio.ensure_future(ask(edge, "POST", listing, mcp_session_id=session))
        await eventually_async(lambda: store.putting > before)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.1)
        assert len(workers.made) == 1
        store.may_put.set()
        assert (await asking).status == 200
        assert len(workers.made) == 2


async def test_a_session_that_is_being_opened_waits_no_longer_than_its_server_has_a_place(tmp_path: Path) -> None:
    """Another server may take that while this one is leaving; it gets the worker then, and whoever waits is told."""
    workers = PlannedWorkers(lambda worker, message: answer_all(worker, message) if worker is workers.made[0] else None)
    upstreams = StdioUpstreams(workers, StdioSettings())
    async with edge_on(MemoryStore(), tmp_path, upstreams, bounds=HostSettings(drain_s=60.0)) as (edge, _):
        initialize = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
        opening = asyncio.ensure_future(ask(edge, "POST", initialize))
        await eventually_async(lambda: len(workers.made) == 2)
        lost = asyncio.Event()
        leaving = asyncio.ensure_future(edge._host.hand_over(lost=lost.is_set))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(leaving), 0.1)
        lost.set()
        await leaving
        assert (await opening).status == 503
        assert workers.made[1].released


async def test_an_answer_that_comes_to_a_server_which_has_left_the_session_is_not_taken(tmp_path: Path) -> None:
    """Else nobody would send it to the server that has the question now; not the first one either, which that asked."""
    workers = PlannedWorkers(answer_all)
    async with edge_on(MemoryStore(), tmp_path, StdioUpstreams(workers, StdioSettings())) as (edge, session):
        live = await edge._host.find(session)
        outlet = Outlet()
        live.take_standalone(outlet)
        workers.made[0].say({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})
        asked = str(workers.made[0].number)
        live.leave("another server has it")
        for question in (asked, "of the next server"):
            answer = json.dumps({"jsonrpc": "2.0", "id": question, "result": {}}).encode()
            with pytest.raises(Moved):
                await live.answer(parse_frame(answer), answer)
