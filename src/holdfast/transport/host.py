"""The sessions this node serves: opened, adopted from the store, counted, swept and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec

from ..gateway.contract import Changed, Exit, Handshake, Upstreams
from ..gateway.rules import UNANSWERED, Change, capabilities_of, how_it_ended, is_crash, protocol_of, with_crash
from ..model import Clock, HoldfastError, Misused, Moved, NotFound, Refused, new_session_id, redacted
from ..model.jsonrpc import Message, one_line, raw_member
from ..runtime import Periodic, spawn
from ..sessions import Draft, SessionManager
from ..sessions.rules import touch_delay_s
from ..stores.contract import Journal, JournalBounds
from .live import LiveSession
from .places import Places
from .rules import use_must_be_told, use_window_s
from .sse import RETRY
from .streams import Journaler
from .succession import KEY, Succession, label_of

_log = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
STORE_CHORE_S: Final = 2.0
SWEPT_A_SLICE: Final = 500
TRIM_S: Final = 30.0
INITIALIZE_BYTES_MAX: Final = 2**18


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Bounds of the sessions of one server; times in seconds."""

    session_timeout_s: float | None = 3600.0
    sessions_max: int = 10_000
    crashes_max: int = 5
    crash_window_s: float = 60.0
    starts_waiting_max: int = 64
    request_timeout_s: float | None = 3600.0
    drain_s: float = 10.0
    journal: JournalBounds = field(default_factory=JournalBounds)


class Host:
    """Serves sessions from one data directory under one term.

    Invariant: a session is in `_live` only while its stored record carries this node's term.
    """

    def __init__(
        self,
        sessions: SessionManager[dict[str, Any]],
        journal: Journal,
        journaler: Journaler,
        upstreams: Upstreams,
        places: Places,
        clock: Clock,
        settings: HostSettings,
        *,
        term: int,
    ) -> None:
        self._sessions = sessions
        self._journal = journal
        self._upstreams = upstreams
        self._places = places
        self._settings = settings
        self.now = clock.now
        self.term = term
        self.request_timeout_s = settings.request_timeout_s
        self.journaler = journaler
        self.draining = self.drained = False
        self._live: dict[str, LiveSession] = {}
        self._count = 0
        self._counting: asyncio.Task[None] | None = None
        self._ended_while_counting: set[str] = set()
        self._opening: set[LiveSession] = set()
        self._trimmed_at = 0.0
        # A use reaches the record within its window, a sweep, the touch delay, and a round of the store's own chores.
        timeout_s = settings.session_timeout_s
        self._late_s = use_window_s(timeout_s) + SWEEP_S + touch_delay_s(timeout_s) + STORE_CHORE_S
        self._succession = Succession(self, sessions, journal, upstreams, places, self._live, self._late_s)
        self._periodic = (
            Periodic("sweep expired sessions", self.sweep, interval_s=SWEEP_S),
            Periodic("trim the journal", self._trim, interval_s=SWEEP_S),
        )

    # -- the life of the host

    async def start(self, *, beside: bool = False) -> None:
        """Take over what an earlier server left running; sweep and count what is stored, which new sessions wait for.

        `beside` another server that still opens sessions, folders of sessions that are not stored stay.
        """
        self._succession.begin()
        self._counting = spawn(self._count_stored(beside), name="count the sessions")

    async def drain(self) -> None:
        """Open no more sessions, wait a bounded while for calls to end, then end every connection with `retry`.

        What clients still ask over connections they have is served meanwhile: some ask once more before they can use
        the answer they were waiting for.
        """
        self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                while busy := [live for live in self._live.values() if live.calls]:
                    await busy[0].calls.idle()
        self.drained = True
        for live in self._live.values():
            live.calls.interrupt_all(f"the server is shutting down; {UNANSWERED}")
        await self.journaler.flushed()
        for live in self._live.values():
            live.close_streams(RETRY)
        await self._stop_upstreams()  # also those that are starting: whoever waits for one is told

    async def hand_over(self, *, lost: Callable[[], bool] = lambda: False) -> None:
        """Leave every session to the next server, its calls in flight too, within the time that draining may take.

        An answer that somebody waits for in one piece comes first: it could not be had at the next server. Once `lost`,
        which may be from the start, that server has them all, and nothing more is waited for.
        """
        self.draining = True
        why = f"the server was replaced; {UNANSWERED}"
        await self._succession.hand_over(self._settings.drain_s, lambda: bool(self._opening), lost, why)
        for live in list(self._opening):
            live.upstream.release()
        self.drained = True
        await self.journaler.flushed()

    async def stop(self) -> None:
        """Tell the store of every use and end all workers; the sessions stay."""
        for periodic in self._periodic:
            await periodic.stop()
        await self._succession.end()
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait({self._counting})
        await asyncio.gather(*(self._tell(live) for live in self._live.values()), return_exceptions=True)
        await self._stop_upstreams()

    @property
    def calls_in_flight(self) -> int:
        """How many calls have not been answered yet, in all sessions."""
        return sum(len(live.calls) for live in self._live.values())

    # -- the life of a session

    async def find(self, session_id: str, principal: str | None = None) -> LiveSession:
        """Return the session of a principal as served here, adopting it from the store when this is its first request.

        Raises:
            NotFound: It does not exist, belongs to somebody else, has expired or has ended. For all of them the store
                is asked, so that the time tells no more than the words.
        """
        live = self._live.get(session_id)
        if live is None or live.principal != principal:
            live = await self._succession.adopt(session_id, principal)
            await self._sessions.record_use(session_id, self.now(), timeout=live.timeout)
        now = self.now()
        if live.ending or live.is_expired(now):
            raise NotFound("the session has ended")
        live.used_at = now
        return live

    async def open(self, message: Message, body: bytes, principal: str | None = None) -> tuple[str | None, bytes]:
        """Start a server for a principal's new session; return the session's id and the server's answer to initialize.

        A server that answers with an error makes no session: the id is None. When this returns an id, the session
        and its handshake are durable.

        Raises:
            Misused: What the client says of itself is too long to be kept. Nothing was started.
            Refused: As many sessions exist, or are starting, as may.
            Unavailable: The server did not start; no session was made.
        """
        if self._counting is not None:
            await asyncio.wait({self._counting})
        if self._count + len(self._opening) >= self._settings.sessions_max:
            raise Refused(f"{self._settings.sessions_max} sessions exist, as many as may; try later", wait_s=30.0)
        if len(self._opening) >= self._settings.starts_waiting_max:
            raise Refused(f"{len(self._opening)} sessions are starting, as many as may; try again", wait_s=2.0)
        params = raw_member(body, "params")
        if len(params) > INITIALIZE_BYTES_MAX:
            raise Misused(f"params of {len(params)} bytes; initialize takes {INITIALIZE_BYTES_MAX}, for they are kept")
        live = self.make(new_session_id(), principal)
        live.handshake = Handshake(params=params, protocol="")
        kept = False
        self._opening.add(live)
        try:
            await self._places.make(live.place)
            assert message.id is not None
            answer = await live.upstream.open(one_line(body), message.id)
            kept = await self._keep(live, answer)
        finally:
            self._opening.discard(live)
            if not kept:
                spawn(self._discard(live), name="remove what a failed start left")
        return (live.id if kept else None), answer

    async def remember(self, live: LiveSession, change: Change) -> None:
        """Change the handshake of a session in memory and in the store, where it outlives this process."""
        await self._write(live, change, sync=False)

    async def initialized(self, live: LiveSession) -> None:
        """Record durably that the client has finished the handshake."""
        if not live.handshake.initialized:
            await self._write(live, _as_initialized, sync=True)

    async def ready(self, live: LiveSession) -> None:
        """Return once a server runs for the session.

        Raises:
            NotFound: It came back speaking another protocol version, so the session has ended.
            Unavailable: It does not start.
        """
        live.entering += 1
        try:
            await live.counted()
            if not live.ending:
                await live.upstream.ready(live.handshake)
        except Changed as error:
            await self.end(live, str(error))
            raise NotFound("the session has ended") from error
        except HoldfastError as error:
            if live.ending:
                raise NotFound("the session has ended") from error
            raise
        finally:
            live.entering -= 1
        if live.ending:
            raise NotFound("the session has ended")

    async def end(self, live: LiveSession, reason: str | None) -> None:
        """End a session durably, its server and its folder; with a reason the record stays until its timeout."""
        if live.ending:
            return
        live.ending = True
        try:
            if reason is None:
                await self._sessions.delete(live.id, term=self.term)
            else:
                _log.warning("session %s ended: %s", redacted(live.id), reason)
                await self._sessions.terminate(live.id, reason, term=self.term)
        except HoldfastError:
            live.ending = False
            raise
        live.ended = True
        live.calls.interrupt_all(f"the session has ended: {reason or 'terminated by the client'}")
        self._live.pop(live.id, None)
        self._uncount(live.id)
        spawn(self._discard(live), name="remove an ended session")

    async def count_crash(self, live: LiveSession, ended: Exit) -> None:
        """Record a crash of a session's server; one too many ends the session. The keeper's death is no crash of it."""
        _log.warning("session %s: %s", redacted(live.id), how_it_ended(ended))
        if not is_crash(ended):
            return
        settings = self._settings
        now = self.now()
        change = partial(with_crash, crashed_at=ended.at or now, now=now, window_s=settings.crash_window_s)
        try:
            await self._write(live, change, sync=False)
            if len(live.handshake.crashes) >= settings.crashes_max:
                times = f"{settings.crashes_max} crashes within {settings.crash_window_s:g} s"
                await self.end(live, f"{times}; {how_it_ended(ended)}")
        except HoldfastError as error:
            _log.error("session %s: its crash could not be recorded: %s", redacted(live.id), error)

    async def sweep(self) -> None:
        """Delete what has expired; the cost follows what is live and what expired, not what is stored."""
        now = self.now()
        for number, live in enumerate(list(self._live.values()), 1):
            if number % SWEPT_A_SLICE == 0:
                await asyncio.sleep(0)
            if live.in_use:
                live.used_at = now
            elif live.is_expired(now):
                await self._expire_live(live)
                continue
            if use_must_be_told(live.used_at, live.told_at, live.timeout, now):
                await self._tell(live)
        await self._expire(now)

    def make(self, session_id: str, principal: str | None) -> LiveSession:
        """Return a session that is not served yet, with the timeout of new ones."""
        place = self._places.of(session_id)
        timeout = self._settings.session_timeout_s
        live = LiveSession(session_id, principal, timeout, self, place, Handshake(params=b"", protocol=""), self.now())
        label = label_of(session_id, principal)
        live.upstream = self._upstreams.make(label, place, on_frame=live.heard, on_lost=live.lost)
        return live

    # -- helpers, in order of use

    async def _count_stored(self, beside: bool) -> None:
        """Sweep, count what is left, remove folders of sessions that are gone; then begin to sweep for good."""
        try:
            await self._expire(self.now())
            # Invariant: whoever may still be adopted keeps its folder.
            stored = set(await self._sessions.ids(late_s=self._late_s))
            if not beside:
                await self._places.remove_all_but(stored)
            self._count += len(stored - self._ended_while_counting)
        except (HoldfastError, OSError) as error:
            _log.error("the stored sessions could not be counted; --max-sessions counts new ones only: %s", error)
        if self._count:
            _log.info("%d stored sessions go on", self._count)
        self._counting = None
        for periodic in self._periodic:
            periodic.start()

    def _uncount(self, session_id: str) -> None:
        if self._counting is not None:
            self._ended_while_counting.add(session_id)
        else:
            self._count -= 1

    async def _expire(self, now: float) -> None:
        """Delete what was expired at `now`, and long enough that no use can be missing from its record."""
        while gone := await self._sessions.expire_due(limit=100, now=now, late_s=self._late_s):
            for session in gone:
                self._let_go(session.id, counted=session.state == "active")

    async def _expire_live(self, live: LiveSession) -> None:
        """Delete a session at once whose every use is known here."""
        live.ending = True  # nobody is served while it goes
        try:
            await self._sessions.delete(live.id, sync=False, term=self.term)
        except Moved:
            self._live.pop(live.id, None)
            live.leave(f"the session goes on at another server; {UNANSWERED}")
        except HoldfastError as error:
            live.ending = False
            _log.error("session %s is expired, but could not be deleted: %s", redacted(live.id), error)
        else:
            self._let_go(live.id, counted=True)

    async def _stop_upstreams(self) -> None:
        lives = [*self._live.values(), *self._opening]
        await asyncio.gather(*(live.upstream.stop() for live in lives), return_exceptions=True)

    async def _keep(self, live: LiveSession, answer: bytes) -> bool:
        """Make the session durable if the server agreed to open it."""
        protocol = protocol_of(answer)
        if protocol is None:
            return False
        live.handshake = msgspec.structs.replace(
            live.handshake, protocol=protocol, capabilities=capabilities_of(answer)
        )
        # A worker that is ready without a record is ended by the next server; and who is superseded makes no record.
        await live.upstream.confirm(1)
        metadata = {KEY: _as_dict(live.handshake)}
        await self._sessions.create(metadata, id=live.id, owner=live.principal, timeout=live.timeout, term=self.term)
        self._live[live.id] = live
        self._count += 1
        return True

    async def _write(self, live: LiveSession, change: Change, *, sync: bool) -> None:
        def into(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
            draft.metadata[KEY] = _as_dict(change(Handshake(**draft.metadata[KEY])))
            return draft

        await self._tell(live)
        await self._sessions.update(live.id, into, term=self.term, sync=sync)
        live.handshake = change(live.handshake)

    async def _tell(self, live: LiveSession) -> None:
        used_at = live.used_at
        try:
            await self._sessions.record_use(live.id, used_at, timeout=live.timeout)
            live.told_at = used_at
        except HoldfastError as error:
            _log.error("session %s: its use could not be recorded: %s", redacted(live.id), error)

    def _let_go(self, session_id: str, *, counted: bool) -> None:
        """Let go of a session that the store has no more."""
        if counted:
            self._uncount(session_id)
        live = self._live.pop(session_id, None)
        if live is None:
            spawn(self._places.remove(self._places.of(session_id)), name="remove an expired session's folder")
            return
        live.ending = live.ended = True
        live.calls.interrupt_all("the session has expired")
        spawn(self._discard(live), name="remove an expired session")

    async def _discard(self, live: LiveSession) -> None:
        live.forget()
        live.close_streams(RETRY)
        await live.upstream.stop()
        await self._places.remove(live.place)

    async def _trim(self) -> None:
        """Trim the journal now and then, and at once when it may have outgrown what one session is allowed."""
        bounds, journaler, now = self._settings.journal, self.journaler, self.now()
        grown = journaler.entries_written > bounds.session_entries_max or (
            journaler.bytes_written > bounds.session_bytes_max
        )
        if grown or now - self._trimmed_at >= TRIM_S:
            self._trimmed_at = now
            journaler.entries_written = journaler.bytes_written = 0
            try:
                await self._journal.trim(bounds, now)
            finally:
                # Also where the journal cannot be trimmed: the feed grows by itself.
                await self._sessions.trim_feed()


def _as_dict(handshake: Handshake) -> dict[str, object]:
    return msgspec.structs.asdict(handshake)


def _as_initialized(handshake: Handshake) -> Handshake:
    return msgspec.structs.replace(handshake, initialized=True)
