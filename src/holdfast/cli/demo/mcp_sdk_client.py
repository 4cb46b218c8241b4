"""The client of the demo: the official one, unmodified, and a record of what it sent.

Source: the Python SDK of the Model Context Protocol, `mcp.client`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import msgspec
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from ...model import Unavailable
from ...transport.session_header import SESSION
from .rules import Counted, Heard, Notes, Sent

CONNECTS_WITHIN_S: Final = 30.0
ANSWERS_WITHIN_S: Final = 30.0
SILENT_FOR_S: Final = 10.0


class _Request(Protocol):
    """An HTTP request, as far as the record needs it."""

    method: str
    headers: Mapping[str, str]
    content: bytes


class _Response(Protocol):
    """An HTTP response, as far as the record needs it."""

    headers: Mapping[str, str]


class Wire:
    """What went over the wire: each request of the client, and the session the server last named."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.session: str | None = None

    async def asked(self, request: _Request) -> None:
        """Record a request; one without a body goes by its verb."""
        method = str(json.loads(request.content).get("method")) if request.content else request.method
        self.sent.append(Sent(method, request.headers.get(SESSION.decode())))

    async def answered(self, response: _Response) -> None:
        """Record the session that an answer names."""
        self.session = response.headers.get(SESSION.decode(), self.session)


class NotesClient:
    """Calls the tools of the demo's server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.protocol = client.protocol_version

    async def remember(self, text: str) -> Notes:
        """Keep a note; return all there are.

        Raises:
            Unavailable: The call failed or was not answered in time.
        """
        return await self._notes("remember", {"text": text})

    async def recall(self) -> Notes:
        """Return all notes.

        Raises:
            Unavailable: The call failed or was not answered in time.
        """
        return await self._notes("recall", {})

    async def count(self) -> Counted:
        """Return how often this was called, which the worker keeps in its memory only.

        Raises:
            Unavailable: The call failed or was not answered in time.
        """
        told = await self._told("count", {})
        return Counted(told["count"], told["pid"])

    async def think(self, seconds: int, progressed: Callable[[int], None]) -> Heard:
        """Make a call that takes long; return what became of it, whatever that is. `progressed` gets each step told."""

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            progressed(int(progress))

        try:
            result = await self._client.call_tool("think", {"seconds": seconds}, progress_callback=progress)
        except MCPError as error:
            return Heard("error", error.error.message, error.error.code)
        worker = (result.structured_content or {}).get("pid")
        return Heard("error" if result.is_error else "answer", _text(result.content), worker=worker)

    async def _notes(self, tool: str, arguments: dict[str, Any]) -> Notes:
        told = await self._told(tool, arguments)
        return Notes(tuple(told["notes"]), told["pid"])

    async def _told(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            result = await self._client.call_tool(tool, arguments)
            return msgspec.convert(result.structured_content, dict[str, Any])
        except (MCPError, msgspec.ValidationError) as error:
            raise Unavailable(f"the call of {tool} failed: {error}") from error


@asynccontextmanager
async def connected(url: str, wire: Wire) -> AsyncIterator[NotesClient]:
    """Connect to the endpoint at `url`; end the session when the block ends.

    Raises:
        Unavailable: The client could not connect or gave up, or the block failed; the message is that of the first
            cause, which the client wraps in groups of errors.
    """
    # It logs session ids in full, and every retry while the server is away, which the demo tells better.
    for name in ("mcp", "httpx2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        async with create_mcp_http_client() as http, AsyncExitStack() as stack:
            http.timeout = SILENT_FOR_S  # also bounds the goodbye to a server that hangs, which waits 5 minutes else
            http.event_hooks = {"request": [wire.asked], "response": [wire.answered]}
            client = Client(streamable_http_client(url, http_client=http), read_timeout_seconds=ANSWERS_WITHIN_S)
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                await stack.enter_async_context(client)
            yield NotesClient(client)
    except Exception as error:
        cause = _first_cause(error)
        raise Unavailable(str(cause) or f"the client ended with {type(cause).__name__}") from error


def _first_cause(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _text(content: list[Any]) -> str:
    return " ".join(str(block.text) for block in content if block.type == "text")
