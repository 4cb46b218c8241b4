"""How sessions come to this server from the one before it, and go to the one after it.

The worker comes first, then the record, then the journal: once the record carries this server's term the one before
can journal nothing more (`Moved`), so what the journal tells then of the frames that come again is the last word.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from ..gateway.contract import Handshake, Inventory, Upstreams
from ..gateway.rules import UNANSWERED
from ..model import HoldfastError, Misused, NotFound, Refused, Unavailable, redacted
from ..model.jsonrpc import INTERRUPTED, error_answer, id_from_json
from ..runtime import shielded, spawn
from ..sessions import SessionManager
from ..stores.contract import Entry, Journal, Kind, OpenStream, append_to
from .live import LiveSession
from .places import Places

_log = logging.getLogger(__name__)

KEY: Final = "mcp"
"""Where in a session's metadata the gateway keeps its handshake."""
ADOPTED_AT_ONCE: Final = 32
ADOPTED_AGAIN_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
HAND_OVER_POLL_S: Final = 0.005
STOP_S: Final = 10.0
NEVER_ARRIVED: Final = "this call never reached its MCP server, for the server it came through ended before; call again"
RESTARTED: Final = f"the server was restarted while this call ran; {UNANSWERED}"


class House(Protocol):
    """What succession asks of the host."""

    term: int

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        ...

    async def initialized(self, live: LiveSession) -> None:
        """Record that the client has finished the handshake, unless that is known."""
        ...

    def make(self, session_id: str, principal: str | None) -> LiveSession:
        """Return a session that is not served yet, of which nothing but this is known."""
        ...


def label_of(session_id: str, principal: str | None) -> str:
    """Return what a session's worker is called, by which only its owner's requests find it."""
    return msgspec.json.encode((session_id, principal)).decode()


class Succession:
    """Takes sessions over, each once however many ask for it, and lets go of them.

    `live` are the sessions this node serves; what is adopted is added to it.
    """

    def __init__(
        self,
        house: House,
        sessions: SessionManager[dict[str, Any]],
        journal: Journal,
        upstreams: Upstreams,
        places: Places,
        live: dict[str, LiveSession],
        late_s: float,
    ) -> None:
        self._house = house
        self._sessions = sessions
        self._journal = journal
        self._upstreams = upstreams
        self._places = places
        self._live = live
        self._late_s = late_s
        self._adopting: dict[tuple[str, str | None], asyncio.Task[LiveSession | HoldfastError]] = {}
        self._orphans: asyncio.Task[None] | None = None
        self.leaving = False

    # -- from the server before

    def begin(self) -> None:
        """Take over every worker that has no server, as soon as there is one. It is no use of its session."""
        self._orphans = spawn(self._adopt_orphans(), name="take over workers that have no server")

    async def end(self) -> None:
        """Take over no more."""
        if self._orphans is not None:
            self._orphans.cancel()
            await asyncio.wait({self._orphans})

    async def adopt(self, session_id: str, principal: str | None) -> LiveSession:
        """Return the session as served here, once it is.

        Raises:
            NotFound: There is no such session, or it is somebody else's.
            Refused: This server serves no more sessions.
            Moved: A newer server has it.
            Unavailable: The store, or the server that has it, does not answer.
        """
        if self.leaving:
            raise Refused("this server is being replaced; ask again", wait_s=1.0)
        key = (session_id, principal)
        adopting = self._adopting.get(key)
        if adopting is None:
            adopting = spawn(self._adopt(session_id, principal), name="adopt a session")
            self._adopting[key] = adopting
            adopting.add_done_callback(lambda _: self._adopting.pop(key, None))
        outcome = await asyncio.shield(adopting)
        if isinstance(outcome, HoldfastError):
            raise outcome
        return outcome

    async def _adopt_orphans(self) -> None:
        room = asyncio.Semaphore(ADOPTED_AT_ONCE)
        while not self.leaving:
            label = await self._upstreams.orphan()
            await room.acquire()
            adopting = spawn(self._adopt_orphan(label), name="take over a worker")
            adopting.add_done_callback(lambda _: room.release())

    async def _adopt_orphan(self, label: str) -> None:
        try:
            session_id, principal = msgspec.json.decode(label, type=tuple[str, str | None])
        except msgspec.MsgspecError:
            return
        if session_id in self._live:
            return
        try:
            await self._adopt_in_the_end(session_id, principal)
        except NotFound:
            pass  # its worker was stopped
        except HoldfastError as error:
            _log.warning("session %s could not be taken over yet: %s", redacted(session_id), error)

    async def _adopt_in_the_end(self, session_id: str, principal: str | None) -> None:
        """Adopt a session, also when that fails for a while."""
        for delay_s in ADOPTED_AGAIN_S:
            try:
                await self.adopt(session_id, principal)
            except Unavailable:
                await asyncio.sleep(delay_s)
            else:
                return
        await self.adopt(session_id, principal)

    async def _adopt(self, session_id: str, principal: str | None) -> LiveSession | HoldfastError:
        """Make this node the session's owner, with the worker that is there, and answer what nobody else will."""
        live = self._house.make(session_id, principal)
        try:
            inventory = await live.upstream.attach()
        except HoldfastError as error:
            return error
        try:
            await self._take_over(live, inventory)
        except (Misused, KeyError, TypeError) as error:
            live.calls.lost()
            _log.debug("no session of this server: %s", error)
            await self._end_worker(live)
            return NotFound("no session of this server has such an id")
        except NotFound as error:
            live.calls.lost()
            await self._end_worker(live)
            return error
        except HoldfastError as error:
            live.calls.lost()
            live.upstream.release()
            return error
        return live

    async def _take_over(self, live: LiveSession, inventory: Inventory | None) -> None:
        session = await self._sessions.take_over(live.id, self._house.term, late_s=self._late_s, owner=live.principal)
        live.handshake = Handshake(**session.metadata[KEY])
        live.timeout = session.timeout
        # Its last owner may have seen uses that it did not write.
        live.used_at = live.told_at = min(self._house.now(), session.last_accessed + self._late_s)
        told: set[int] = set()
        if inventory is not None and inventory.first:
            told = await self._journal.origins(live.id, inventory.first, inventory.last)
        unanswered = live.take_over(inventory, await self._journal.unfinished(live.id), told)
        began = self._house.now() if inventory is None else inventory.since
        if unanswered:
            finals = [self._final(stream, began) for stream in unanswered]
            await append_to(self._journal, live.id, self._house.term, finals)
        await self._places.make(live.place)
        if inventory is not None and inventory.stage == 2:
            await self._house.initialized(live)
        self._live[live.id] = live
        live.upstream.go(live.handshake)

    def _final(self, stream: OpenStream, began: float) -> Entry:
        """Answer a call that the worker, which `began` then, does not know."""
        opening = stream.opening
        why = RESTARTED if opening.at < began else NEVER_ARRIVED
        data = error_answer(id_from_json(opening.request), INTERRUPTED, why)
        return Entry(opening.stream, self._house.term, stream.last_seq + 1, Kind.FINAL, self._house.now(), data)

    async def _end_worker(self, live: LiveSession) -> None:
        """End a worker whose session is no more."""
        with contextlib.suppress(TimeoutError):
            await shielded(live.upstream.stop(), within_s=STOP_S, name="end a worker whose session is gone")

    # -- to the server after

    async def hand_over(self, within_s: float, opening: Callable[[], bool], lost: Callable[[], bool], why: str) -> None:
        """Let go of every session, each as soon as nobody waits here for its answer in one piece; adopt no more.

        Who still waits after `within_s` seconds is told `why`, or once all are `lost` to another server. `opening`
        tells whether sessions are being opened.
        """
        self.leaving = True
        await self.end()
        for live in list(self._live.values()):
            live.stream_all()
        end = asyncio.get_running_loop().time() + within_s
        while self._live or self._adopting or opening():
            late = lost() or asyncio.get_running_loop().time() >= end
            for live in list(self._live.values()):
                if late or live.may_leave:
                    live.leave(why)
                    del self._live[live.id]
            if late:
                break
            await asyncio.sleep(HAND_OVER_POLL_S)
