"""The story of the demo, step by step; every step writes down what it saw."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...config.surroundings import colour_is_unwanted
from ...model import Misused, SystemClock, Unavailable, redacted
from ...runtime import shielded, spawn
from ..output import say, take_any_text
from .hosted import Hosted, is_gone
from .rules import Heard, Observed, claims
from .timeline import RED, Timeline

if TYPE_CHECKING:
    from .mcp_sdk_client import NotesClient, Wire

NOTES: Final = ("water the plants", "call Ada")
ADDED: Final = "this note came after the crash"
THINK_S: Final = 5
STEP_WITHIN_S: Final = 30.0
SHOW_WITHIN_S: Final = 90.0
CLEAN_UP_WITHIN_S: Final = 60.0


def demo() -> int:
    """Show a session that outlives its server; return 0 if every claim was seen to be true, else 1.

    Whatever happens, no process and no file of it is left.

    Raises:
        Misused: The official client, or what a server needs, is not installed.
    """
    try:
        from .mcp_sdk_client import Wire
    except ImportError as error:
        raise Misused(
            f"{error.name} is not installed; install holdfast with its extras `server` and `examples`"
        ) from error
    take_any_text()
    colour = sys.stdout.isatty() and not colour_is_unwanted()
    timeline = Timeline(say, SystemClock(), colour=colour)
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-", ignore_cleanup_errors=True) as folder:
        show = Show(timeline, Path(folder), Wire())
        try:
            asyncio.run(show.run())
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM
    judged = claims(show.seen)
    timeline.judge(judged)
    return 0 if all(claim.holds for claim in judged) else 1


class Show:
    """One performance; `seen` is what was observed so far."""

    def __init__(self, timeline: Timeline, folder: Path, wire: Wire) -> None:
        self.seen = Observed()
        self._say = timeline.say
        self._now_s = timeline.now_s
        self._title = timeline.title
        self._wire = wire
        self._killed_s = 0.0
        # -I and -S: nothing is looked up but the standard library, so that it starts in a moment.
        self._hosted = Hosted(folder, [sys.executable, "-I", "-S", str(Path(__file__).with_name("notes.py"))])

    async def run(self) -> None:
        """Play the story; what goes wrong in it is told, and missing from `seen`.

        Raises:
            Misused: The server cannot be started on this machine as it is.
        """
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            self._title("A session that outlives its server")
            async with asyncio.timeout(SHOW_WITHIN_S):
                await self._serve()
                await self._with_client()
                await self._stop()
        except (Unavailable, TimeoutError) as error:
            self._say("failed", str(error) or "what was waited for did not happen in time", style=RED)
        finally:
            await shielded(self._hosted.clean_up(), within_s=CLEAN_UP_WITHIN_S, name="end the demo's server")

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
        """Kill the server as soon as a call has told some progress; return the call, which still waits."""
        progressed = asyncio.Event()
        heard = spawn(client.think(THINK_S, progressed.set), name="the call in flight")
        async with asyncio.timeout(STEP_WITHIN_S):
            await progressed.wait()
        self._say("think", f"a call of {THINK_S} s has begun and tells its progress")
        sent_before = len(self._wire.sent)
        code = await self._hosted.kill()
        self.seen = replace(self.seen, sent_before=sent_before, kill_code=code)
        self._killed_s = self._now_s()
        self._say("KILL -9", f"the server, pid {self.seen.servers[-1]}, in the middle of that call", style=RED)
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
