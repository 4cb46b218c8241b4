"""A session's MCP server over stdio: started, replaced when it crashes, and told what its predecessor was told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..model import HoldfastError, Misused, Moved, Refused, Unavailable
from ..model.jsonrpc import RequestId, notification, parse_frame, request
from ..runtime import shielded, spawn
from .contract import Changed, Exit, Handshake, Hear, Inventory, Worker, Workers
from .rules import capabilities_of, how_it_ended, protocol_of, replay, retry_delay_s, what_changed

_log = logging.getLogger(__name__)


HEARD_ALL_S_MAX: Final = 15.0
GOING: Final = "the session is ending at this server; ask again"


@dataclass(frozen=True, slots=True)
class StdioSettings:
    """How a worker is started and stopped. `starting_max` bounds how many start at once in this process."""

    start_timeout_s: float = 60.0
    stop_grace_s: float = 4.0
    starting_max: int = 8


class StdioUpstreams:
    """Makes upstreams that share the workers and the bound on how many start at once."""

    def __init__(self, workers: Workers, settings: StdioSettings) -> None:
        self._workers = workers
        self._settings = settings
        self._starting = asyncio.Semaphore(settings.starting_max)

    def make(self, label: str, place: Path, *, on_frame: Hear, on_lost: Callable[[Exit], None]) -> StdioUpstream:
        return StdioUpstream(label, place, self._workers, self._settings, self._starting, on_frame, on_lost)

    async def orphan(self) -> str:
        return await self._workers.orphan()


class StdioUpstream:
    """One session's server.

    Invariant: there is at most one worker: a new one starts only after the last one's `on_exit`, when nothing of it
    is left.
    """

    def __init__(
        self,
        label: str,
        place: Path,
        workers: Workers,
        settings: StdioSettings,
        starting: asyncio.Semaphore,
        on_frame: Hear,
        on_lost: Callable[[Exit], None],
    ) -> None:
        self._label = label
        self._place = place
        self._workers = workers
        self._settings = settings
        self._starting = starting
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._worker: Worker | None = None
        self._last: Worker | None = None
        self._buried: Worker | None = None
        self._buried_number = 0
        self._serving = False
        self._stage = 0
        self._last_left = 0
        self._heard_all: asyncio.Event | None = None
        self._stopped = self._released = False
        self._how_it_ended = "it has not started yet"
        self._replaying: asyncio.Task[Exception | None] | None = None
        self._expected: dict[RequestId, asyncio.Future[bytes]] = {}
        self._failures = 0
        self._retry_at = 0.0

    @property
    def full(self) -> bool:
        return self._worker is not None and self._worker.full

    @property
    def jammed(self) -> bool:
        return self._worker is not None and self._worker.jammed

    async def open(self, initialize: bytes, request_id: RequestId) -> bytes:
        answer = await self._start(initialize, request_id)
        if protocol_of(answer) is not None:  # else it refused, and may well have left
            self._serve()
        return answer

    async def attach(self) -> Inventory | None:
        found = await self._workers.attach(self._label, on_frame=self._heard, on_exit=self._ended)
        if found is None:
            return None
        worker, inventory = found
        self._worker = self._last = worker
        if inventory.stage == 0:  # it never came to speak with the client
            await shielded(worker.stop(grace_s=1.0), within_s=10.0)
            return None
        self._stage = inventory.stage
        if inventory.last:
            self._last_left, self._heard_all = inventory.last, asyncio.Event()
        return inventory

    def go(self, handshake: Handshake) -> None:
        if self._worker is None:
            return
        if handshake.initialized and self._stage < 2:
            self._worker.send(notification("notifications/initialized"))
            self._worker.reached(2)
        self._serving = True
        self._worker.go()

    async def settled(self) -> None:
        if self._heard_all is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARD_ALL_S_MAX):
                    await self._heard_all.wait()
            self._note_heard_all()  # what has not come by now was lost

    async def ready(self, handshake: Handshake) -> None:
        await self.settled()
        if self._serving:
            return
        if self._stopped:
            raise Unavailable(GOING)
        if self._replaying is None:
            wait_s = self._retry_at - asyncio.get_running_loop().time()
            if wait_s > 0:
                raise Refused(f"{self._how_it_ended}; it will be started again in {wait_s:.1f} s", wait_s=wait_s)
            self._replaying = spawn(self._replay(handshake), name="respawn a worker")
        error = await asyncio.shield(self._replaying)
        if error is not None:
            raise error
        if not self._serving:
            raise Unavailable(self._how_it_ended)

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        if self._worker is not None:
            self._worker.send(frame, first=first, call=call, note=note)

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        if self._released:
            raise Moved(GOING)
        if self._worker is None:
            raise Unavailable("the MCP server of this session is not running; send it again")
        await self._worker.deliver(frame, first=first, reaches=reaches, answers=answers)

    def done(self, frame: int, call: int = 0) -> None:
        worker = self._buried if frame and frame == self._buried_number else self._last
        if worker is not None:
            worker.done(frame, call)

    def reached(self, stage: int) -> None:
        if self._worker is not None:
            self._worker.reached(stage)

    async def confirm(self, stage: int) -> None:
        if self._worker is None:
            raise Unavailable(self._how_it_ended)
        await self._worker.confirm(stage)

    def release(self) -> None:
        self._stopped = self._released = True
        self._serving = False
        if self._worker is not None:
            self._worker.release()
            self._worker = None
        self._note_heard_all()
        self._fail_expected(GOING)

    async def stop(self) -> None:
        self._stopped = True
        await self._end_worker()  # one that is starting, too: whoever waits for it is told
        if self._replaying is not None:
            await asyncio.wait({self._replaying})
        await self._end_worker()

    def _serve(self) -> None:
        """Let requests through, unless the worker has ended since it answered initialize.

        Raises:
            Unavailable: It has.
        """
        if self._worker is None:
            raise Unavailable(self._how_it_ended)
        self._serving = True

    async def _start(self, initialize: bytes, request_id: RequestId) -> bytes:
        async with self._starting:
            if self._stopped:
                raise Unavailable("the session is ending")
            answer = self._expect(request_id)
            try:
                worker = await self._workers.spawn(self._label, self._place, on_frame=self._heard, on_exit=self._ended)
            except Unavailable as error:
                self._expected.clear()
                _log.warning("a start failed: %s", error)
                raise
            self._worker = self._last = worker
            worker.go()
            if self._stopped:  # meanwhile; whoever stopped it saw no worker to stop
                await shielded(worker.stop(grace_s=1.0), within_s=10.0)
                raise Unavailable("the session is ending")
            try:
                worker.send(initialize)
                async with asyncio.timeout(self._settings.start_timeout_s):
                    return await answer
            except BaseException as error:
                self._expected.clear()
                await shielded(worker.stop(grace_s=1.0), within_s=10.0)
                if isinstance(error, TimeoutError):
                    late = f"the MCP server did not answer initialize within {self._settings.start_timeout_s:g} s"
                    _log.warning("a start failed: %s", late)
                    raise Unavailable(late) from error
                if isinstance(error, Unavailable):
                    _log.warning("a start failed: %s", error)
                raise

    async def _replay(self, handshake: Handshake) -> Exception | None:
        """Start a worker in the client's name; return what went wrong, which every waiting caller then raises."""
        try:
            await self._replay_to_new_worker(handshake)
        except Exception as error:
            await shielded(self._end_worker(), within_s=10.0)
            if not isinstance(error, HoldfastError):
                _log.exception("a worker could not be started again")
            self._failures += 1
            self._retry_at = asyncio.get_running_loop().time() + retry_delay_s(self._failures)
            self._how_it_ended = str(error)
            return error if isinstance(error, HoldfastError) else Unavailable(f"it could not be started: {error}")
        else:
            self._failures = 0
            return None
        finally:
            self._replaying = None

    async def _replay_to_new_worker(self, handshake: Handshake) -> None:
        if self._stopped:  # what runs under this label is the next server's
            raise Unavailable(GOING)
        await self._workers.clear(self._label)
        own_id = f"holdfast-{secrets.token_hex(8)}"
        answer = await self._start(request(own_id, "initialize", handshake.params), own_id)
        protocol = protocol_of(answer)
        if protocol is None:
            raise Unavailable(f"the MCP server refused to open the session again: {answer[:300]!r}")
        if protocol != handshake.protocol:
            self._stopped = True
            raise Changed(f"the MCP server now speaks {protocol}; the session began with {handshake.protocol}")
        for expected_id, frame in replay(handshake, own_id):
            if expected_id is not None:
                self._expect(expected_id)
            self.send(frame)
        self.reached(2 if handshake.initialized else 1)
        self._serve()
        for frame in what_changed(handshake.capabilities, capabilities_of(answer)):
            self._on_frame(frame, 0)

    async def _end_worker(self) -> None:
        if self._worker is not None:
            await self._worker.stop(grace_s=self._settings.stop_grace_s)

    def _expect(self, request_id: RequestId) -> asyncio.Future[bytes]:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_retrieved)
        self._expected[request_id] = answer
        return answer

    def _heard(self, frame: bytes, number: int) -> None:
        if self._expected and self._is_expected(frame):
            self.done(number)
        else:
            self._on_frame(frame, number)
        if number == self._last_left:
            self._note_heard_all()

    def _note_heard_all(self) -> None:
        """Let requests pass: all that was said before this server came has been heard."""
        self._last_left = 0
        if self._heard_all is not None:
            self._heard_all.set()
            self._heard_all = None

    def _is_expected(self, frame: bytes) -> bool:
        try:
            message = parse_frame(frame)
        except Misused:
            return False
        if not message.is_answer or message.id not in self._expected:
            return False
        answer = self._expected.pop(message.id)
        if not answer.done():
            answer.set_result(frame)
        return True

    def _ended(self, ended: Exit) -> None:
        was_serving, self._serving, self._worker = self._serving, False, None
        self._how_it_ended = how_it_ended(ended)
        self._buried, self._buried_number = self._last, ended.number
        self._note_heard_all()
        self._fail_expected(self._how_it_ended)
        if was_serving and not self._stopped:
            self._on_lost(ended)
        else:
            self.done(ended.number)

    def _fail_expected(self, why: str) -> None:
        waiting, self._expected = self._expected, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable(why))


def _retrieved(answer: asyncio.Future[bytes]) -> None:
    """Look at the outcome, so that an answer nobody waits for any more is not reported as forgotten."""
    if not answer.cancelled():
        answer.exception()
