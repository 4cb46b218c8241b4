"""The story of `demo upgrade`: two calls of ten seconds, each of which outlives the server it came through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ...model import redacted
from ...runtime import spawn
from .rules import Claim, Heard
from .stage import Stage, perform
from .timeline import RED
from .upgrade_rules import THINK_S, Knocked, LongCall, Seen, upgrade_claims

if TYPE_CHECKING:
    from .mcp_sdk_client import NotesClient

ENOUGH_STEPS: Final = 3
STEP_WITHIN_S: Final = 40.0
KNOCK_EVERY_S: Final = 0.05
KNOCK_WITHIN_S: Final = 10.0


def demo_upgrade() -> int:
    """Show calls that outlive their servers; see `perform`."""
    return perform(Upgrade)


class _Call:
    """One long call that is under way."""

    def __init__(self, client: NotesClient) -> None:
        self.steps: list[int] = []
        self.begun = asyncio.Event()
        self.told_before = 0
        self.heard: asyncio.Task[Heard] = spawn(client.think(THINK_S, self._progressed), name="the call in flight")

    def _progressed(self, step: int) -> None:
        self.steps.append(step)
        if len(self.steps) == ENOUGH_STEPS:
            self.begun.set()


class Upgrade:
    """One performance; `seen` is what was observed so far."""

    title = "A tool call that outlives its server"
    within_s = 180.0

    def __init__(self, stage: Stage) -> None:
        self.seen = Seen()
        self._say = stage.say
        self._now_s = stage.now_s
        self._wire = stage.wire
        self._hosted = stage.hosted

    async def play(self) -> None:
        """See `Story.play`."""
        from .mcp_sdk_client import connected

        await self._serve("serve", "holdfast serve")
        async with connected(self._hosted.url, self._wire) as client:
            session = self._wire.session or ""
            self.seen = replace(self.seen, session=session)
            self._say("connect", f"the official Python client, session {redacted(session)}, MCP {client.protocol}")
            try:
                await self._count(client)
                await self._kill(client)
                await self._count(client)
                await self._replace(client)
                await self._count(client)
            finally:
                self.seen = replace(self.seen, sent=tuple(self._wire.sent))
        self._say("goodbye", "the client ends its session")
        code = await self._hosted.stop()
        left = not await self._hosted.nothing_left()
        self.seen = replace(self.seen, stop_code=code, nothing_left=not left)
        self._say("stop", f"SIGTERM: the server ends with exit code {code}")

    def claims(self) -> list[Claim]:
        """See `Story.claims`."""
        return upgrade_claims(self.seen)

    async def _serve(self, what: str, how: str, *, beside: bool = False) -> None:
        began_s = self._now_s()
        pid = await self._hosted.start(replace=beside)
        self.seen = replace(self.seen, servers=(*self.seen.servers, pid))
        took_s = self._now_s() - began_s
        self._say(what, f"{how}, pid {pid}, {self._hosted.url}; up after {took_s:.2f} s")

    async def _count(self, client: NotesClient) -> None:
        counted = await client.count()
        self.seen = replace(self.seen, counts=(*self.seen.counts, counted))
        self._say("count", f"{counted.number}, says the tool's process, pid {counted.worker}, from its memory")

    async def _kill(self, client: NotesClient) -> None:
        """Kill the server in the middle of a call and start another one."""
        call = await self._begun(client)
        sent_before = len(self._wire.sent)
        call.told_before = len(call.steps)
        code = await self._hosted.kill()
        ended_s = self._now_s()
        self.seen = replace(self.seen, kill_code=code, sent_before=sent_before)
        self._say("KILL -9", f"the server, pid {self.seen.servers[-1]}, in the middle of that call", style=RED)
        await self._serve("serve", "holdfast serve, same port, same data directory")
        await self._hear(call, ended_s)

    async def _replace(self, client: NotesClient) -> None:
        """Start a server that takes the place of the one that serves, in the middle of a call."""
        call = await self._begun(client)
        call.told_before = len(call.steps)
        old, began_s = self.seen.servers[-1], self._now_s()
        async with self._knocking():
            await self._serve("replace", "holdfast serve --replace", beside=True)
            code = await self._hosted.replaced()
            self.seen = replace(self.seen, replaced_code=code)
            took_s = self._now_s() - began_s
            self._say(
                "leave",
                f"the server it replaces, pid {old}, ends with exit code {code}, {took_s:.2f} s after that began",
            )
        await self._hear(call, began_s)

    async def _begun(self, client: NotesClient) -> _Call:
        call = _Call(client)
        async with asyncio.timeout(STEP_WITHIN_S):
            await call.begun.wait()
        self._say("think", f"a call of {THINK_S} s has begun and told {len(call.steps)} steps")
        return call

    async def _hear(self, call: _Call, since_s: float) -> None:
        """Wait for what the client hears of the call whose server has gone; it asks again by itself."""
        async with asyncio.timeout(STEP_WITHIN_S):
            heard = await call.heard
        heard = heard._replace(after_s=self._now_s() - since_s)
        done = LongCall(tuple(call.steps), call.told_before, heard)
        self.seen = replace(self.seen, calls=(*self.seen.calls, done))
        code = f" {heard.code}" if heard.code is not None else ""
        told = f"{len(call.steps) - call.told_before} more steps of its progress, then {heard.kind}{code}"
        self._say("hear", f'{told}, "{heard.words}"')

    @asynccontextmanager
    async def _knocking(self) -> AsyncIterator[None]:
        """Make new connections all the time while the block runs, and count those that get no answer."""
        over = asyncio.Event()
        knocking = spawn(self._knock(over), name="new connections")
        try:
            yield
        finally:
            over.set()
            await asyncio.wait({knocking}, timeout=KNOCK_WITHIN_S)
        self._say(
            "knock", f"{self.seen.knocked.made} new connections meanwhile, {self.seen.knocked.failed} not answered"
        )

    async def _knock(self, over: asyncio.Event) -> None:
        where = urlsplit(self._hosted.url)
        while not over.is_set():
            answered = await _is_answered(where.hostname or "", where.port or 0)
            made, failed = self.seen.knocked
            self.seen = replace(self.seen, knocked=Knocked(made + 1, failed + (not answered)))
            await asyncio.sleep(KNOCK_EVERY_S)


async def _is_answered(host: str, port: int) -> bool:
    """Return whether a new connection is accepted and a request on it answered."""
    try:
        async with asyncio.timeout(KNOCK_WITHIN_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
