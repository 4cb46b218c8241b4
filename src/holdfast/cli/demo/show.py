"""The story of the demo, step by step; every step writes down what it saw."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ...model import redacted
from ...runtime import spawn
from .hosted import is_gone, parent_of
from .rules import Claim, Heard, Observed, claims
from .stage import Stage, perform
from .timeline import RED

if TYPE_CHECKING:
    from .mcp_sdk_client import NotesClient

NOTES: Final = ("water the plants", "call Ada")
ADDED: Final = "this note came after the crash"
THINK_S: Final = 5
STEP_WITHIN_S: Final = 30.0


def demo() -> int:
    """Show a session that outlives its server and its MCP server; see `perform`."""
    return perform(Show)


class Show:
    """One performance; `seen` is what was observed so far."""

    title = "A session that outlives its server"
    within_s = 90.0

    def __init__(self, stage: Stage) -> None:
        self.seen = Observed()
        self._say = stage.say
        self._now_s = stage.now_s
        self._wire = stage.wire
        self._hosted = stage.hosted
        self._killed_s = 0.0

    async def play(self) -> None:
        """See `Story.play`."""
        await self._serve()
        await self._with_client()
        await self._stop()

    def claims(self) -> list[Claim]:
        """See `Story.claims`."""
        return claims(self.seen)

    async def _with_client(self) -> None:
        from .mcp_sdk_client import connected

        async with connected(self._hosted.url, self._wire) as client:
            session = self._wire.session or ""
            self.seen = replace(self.seen, session=session)
            self._say("connect", f"the official Python client, session {redacted(session)}, MCP {client.protocol}")
            try:
                await self._take_notes(client)
                heard = await self._crash_in_a_call(client)
                await self._serve()
                await self._hear(heard)
                await self._go_on(client)
            finally:
                self.seen = replace(self.seen, sent=tuple(self._wire.sent))
        self._say("goodbye", "the client ends its session")

    async def _serve(self) -> None:
        began_s = self._now_s()
        pid = await self._hosted.start()
        again = ", same port, same data directory" if self.seen.servers else ""
        self.seen = replace(self.seen, servers=(*self.seen.servers, pid))
        took_s = self._now_s() - began_s
        self._say("serve", f"holdfast serve, pid {pid}, {self._hosted.url}{again}; up after {took_s:.2f} s")

    async def _take_notes(self, client: NotesClient) -> None:
        for note in NOTES:
            await client.remember(note)
            self._say("remember", f'"{note}"')
        before = await client.recall()
        self.seen = replace(self.seen, before=before)
        self._say("recall", f"{len(before.notes)} notes, says the session's worker, pid {before.worker}")

    async def _crash_in_a_call(self, client: NotesClient) -> asyncio.Task[Heard]:
        """Kill server and keeper as soon as a call has told some progress; return the call, which still waits."""
        progressed = asyncio.Event()
        heard = spawn(client.think(THINK_S, lambda _: progressed.set()), name="the call in flight")
        async with asyncio.timeout(STEP_WITHIN_S):
            await progressed.wait()
        self._say("think", f"a call of {THINK_S} s has begun and tells its progress")
        sent_before = len(self._wire.sent)
        keeper = parent_of(self.seen.before.worker) if self.seen.before is not None else 0
        code = await self._hosted.crash(keeper)
        self.seen = replace(self.seen, sent_before=sent_before, kill_code=code)
        self._killed_s = self._now_s()
        both = f"the server, pid {self.seen.servers[-1]}, and the keeper of its workers, pid {keeper}"
        self._say("KILL -9", f"{both}, in the middle of that call", style=RED)
        return heard

    async def _hear(self, call: asyncio.Task[Heard]) -> None:
        """Wait for what the client hears of the call whose server was killed; it asks again by itself."""
        async with asyncio.timeout(STEP_WITHIN_S):
            heard = await call
        heard = heard._replace(after_s=self._now_s() - self._killed_s)
        self.seen = replace(self.seen, heard=heard)
        code = f" {heard.code}" if heard.code is not None else ""
        self._say("hear", f'the call that was cut off, resumed: {heard.kind}{code}, "{heard.words}"')

    async def _go_on(self, client: NotesClient) -> None:
        after = await client.recall()
        gone = self.seen.before is not None and is_gone(self.seen.before.worker)
        self.seen = replace(self.seen, after=after, first_worker_gone=gone)
        self._say("recall", f"{len(after.notes)} notes, says a new worker, pid {after.worker}")
        await client.remember(ADDED)
        self._say("remember", f'"{ADDED}"')
        last = await client.recall()
        self.seen = replace(self.seen, added=ADDED, last=last)
        self._say("recall", f"{len(last.notes)} notes")

    async def _stop(self) -> None:
        code = await self._hosted.stop()
        left = not await self._hosted.nothing_left()
        self.seen = replace(self.seen, stop_code=code, nothing_left=not left)
        self._say("stop", f"SIGTERM: the server ends with exit code {code}")
