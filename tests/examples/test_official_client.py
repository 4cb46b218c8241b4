"""The example server behind `holdfast serve`, called by the official Python client, neither of them modified.

R-MCP-6. The client reconnects twice at most, two seconds apart as the server asks, so servers here come back promptly.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import CallToolResult

from holdfast.cli.demo.mcp_sdk_client import Wire
from holdfast.model.jsonrpc import INTERRUPTED
from tests.kit import ROOT, Served, eventually, serving

pytestmark = pytest.mark.slow

NOTES = (sys.executable, str(ROOT / "examples" / "notes_server.py"))
ANSWERS_WITHIN_S = 30.0

Mode = Literal["auto", "legacy"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("notes") / "data", command=NOTES) as server:
        yield server


@asynccontextmanager
async def connected(served: Served, mode: Mode, wire: Wire | None = None) -> AsyncIterator[Client]:
    wire = wire or Wire()
    async with create_mcp_http_client() as http:
        http.event_hooks = {"request": [wire.asked], "response": [wire.answered]}
        transport = streamable_http_client(f"http://127.0.0.1:{served.port}/mcp", http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=ANSWERS_WITHIN_S) as client:
            yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert result.structured_content is not None
    return result.structured_content["result"]


async def restart(served: Served, kill: Callable[[], None] | None = None) -> None:
    """Kill the server and start it again, while the client lives on."""
    await asyncio.to_thread(kill or served.kill)
    await asyncio.to_thread(served.start)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_client_lists_calls_and_hears_progress(served: Served, mode: Mode) -> None:
    async with connected(served, mode) as client:
        assert client.protocol_version == "2025-11-25"
        listed = await client.list_tools()
        assert {tool.name for tool in listed.tools} == {"add_note", "list_notes", "count_calls", "think"}
        assert await call(client, "add_note", text="tea") == "note 1 written"
        assert await call(client, "list_notes") == ["tea"]
        told: list[tuple[float, float | None, str | None]] = []

        async def heard(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        result = await client.call_tool("think", {"seconds": 2}, progress_callback=heard)
        assert result.structured_content == {"result": "thought for 2 s"}
        assert told == [(0, 2, "thinking, second 1"), (1, 2, "thinking, second 2")]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_session_and_its_client_outlive_the_server(served: Served, mode: Mode) -> None:
    wire = Wire()
    async with connected(served, mode, wire) as client:
        await call(client, "add_note", text="before")
        assert await call(client, "count_calls") == 1
        session, sent = wire.session, len(wire.sent)
        await restart(served)
        assert await call(client, "list_notes") == ["before"]
        assert await call(client, "add_note", text="after") == "note 2 written"
        assert await call(client, "list_notes") == ["before", "after"]
        assert await call(client, "count_calls") == 4, "its process has outlived the server too"
        assert [method for method, _ in wire.sent].count("initialize") == 1
        assert {named for _, named in wire.sent[sent:]} == {session}
        assert session is not None


async def think_through_a_restart(
    served: Served, client: Client, seconds: int, kill: Callable[[], None]
) -> CallToolResult | BaseException:
    """Return how a call ended during which everything ended that `kill` kills."""
    begun = asyncio.Event()

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    thinking = asyncio.gather(
        client.call_tool("think", {"seconds": seconds}, progress_callback=heard), return_exceptions=True
    )
    async with asyncio.timeout(ANSWERS_WITHIN_S):
        await begun.wait()
        await restart(served, kill)
        [outcome] = await thinking
    return outcome


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_in_flight_is_answered_through_the_next_server(served: Served, mode: Mode) -> None:
    """R-KEE-1."""
    async with connected(served, mode) as client:
        await client.list_tools()  # or it would ask for them, to check the answer, of whichever server is there
        outcome = await think_through_a_restart(served, client, 5, served.kill)
        assert isinstance(outcome, CallToolResult)
        assert outcome.structured_content == {"result": "thought for 5 s"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_whose_process_died_too_is_told_that_it_was_interrupted(served: Served, mode: Mode) -> None:
    """R-MGR-13, R-KEE-3: server and keeper end at once, as the machine would."""
    async with connected(served, mode) as client:
        outcome = await think_through_a_restart(served, client, 60, served.kill_all)
        assert isinstance(outcome, MCPError)
        assert outcome.error.code == INTERRUPTED
        assert "call again" in outcome.error.message
        assert await call(client, "think", seconds=0) == "thought for 0 s"


async def test_a_stop_in_good_order_lets_the_client_have_its_answer(served: Served) -> None:
    """A stop in good order waits for it, and the client goes on with the next server."""
    async with connected(served, "auto") as client:
        await client.list_tools()  # or it would ask for them, to check the answer, of a server that is going
        begun = asyncio.Event()

        async def heard(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        thinking = asyncio.gather(client.call_tool("think", {"seconds": 2}, progress_callback=heard))
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            await begun.wait()
            assert await asyncio.to_thread(served.terminate) == 0
            await asyncio.to_thread(served.start)
            [result] = await thinking
        assert await call(client, "list_notes") == []
        assert result.structured_content == {"result": "thought for 2 s"}


async def test_two_clients_have_two_notebooks(served: Served) -> None:
    """R-ISO-1: a worker and a folder for each session."""
    async with connected(served, "auto") as one, connected(served, "legacy") as two:
        await call(one, "add_note", text="mine")
        assert await call(two, "list_notes") == []
        assert await call(one, "list_notes") == ["mine"]


async def test_a_client_that_says_goodbye_takes_its_folder_along(served: Served) -> None:
    folders = served.data / "sessions"
    before = set(folders.iterdir())
    async with connected(served, "auto") as client:
        await call(client, "add_note", text="gone soon")
        [place] = set(folders.iterdir()) - before
        assert (place / "work" / "note-0001.txt").read_text() == "gone soon"
    await asyncio.to_thread(eventually, lambda: not place.exists())
