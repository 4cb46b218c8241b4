"""Requests in flight: registered, completed, and still known when the process that took them is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Final

import msgspec

from ..model.clock import Clock, stopwatch_ns
from ..model.errors import Conflict, Corrupt, HoldfastError, Misused, NotFound, Refused, Unavailable
from ..model.ids import new_session_id, redacted
from ..model.session import Record
from ..runtime import shielded
from ..stores.contract import Batch, Entry, Journal, JournalBounds, Kind, Store
from . import rules
from .in_flight import InFlight
from .locks import SessionLocks

RequestId = str | int
INT_MAX: Final = 2**53 - 1
ID_BYTES_MAX: Final = 1024
PENDING_MAX: Final = 10_000
APPEND_S: Final = 10.0
TRIM_S: Final = 60.0

_REFUSED_S: Final = 1.0
_AT_ONCE: Final = 8
_TURN_NS: Final = 250_000  # of each of those: others have theirs after 2 ms
_STREAM: Final = "request:"


class Requests:
    """Keeps which requests of a session are pending, in its journal. 1 and "1" are two requests.

    What is registered outlives the process that registered it, and goes with the session. Two tasks of one process
    cannot register the same request; between processes the session's term decides who may write at all. While a request
    is pending that was registered here, its session is in use: a manager that is entered lets it not expire, but for
    `max_age`. A session has 10,000 pending at most. The journal is trimmed by age: `SessionManager` says when.
    """

    def __init__(self, clock: Clock, bounds: JournalBounds | None) -> None:
        self._store: Store
        self._journal: Journal
        self._clock = clock
        self._bounds = bounds
        self._trim_at: float | None = None
        self._locks = SessionLocks()
        self.in_flight = InFlight()
        """What was registered here and, as far as is known here, is pending."""

    def keep_in(self, store: Store, journal: Journal) -> None:
        """Keep them in this store from now on."""
        self._store, self._journal = store, journal

    async def use_sessions(self, use: Callable[[str, float], Awaitable[Record]]) -> None:
        """Count an access of every session that has a request in flight here, when a third of its life is over.

        What is pending no more, because another manager completed it or it was trimmed, keeps no session in use. An
        error of the store ends the round; what was not looked at is looked at in the next.
        """
        now = self._clock.now()
        due = self.in_flight.due(now)
        rounds = (self._use_each(due, use, now) for _ in range(_AT_ONCE))
        for outcome in await asyncio.gather(*rounds, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def register(self, session_id: str, request_id: RequestId) -> None:
        """Note that a request has begun. A task that is cancelled meanwhile ends once it is known whether it was noted.

        Raises:
            Conflict: It is pending already. Nothing was changed.
            NotFound: The session is gone.
            Moved: Another owner took the session over in this moment. Nothing was changed.
            Refused: 10,000 requests of the session are pending. Nothing was changed.
            Misused: The id is neither a str nor an int within ±(2**53 - 1).
        """
        request = _encoded(session_id, request_id)
        await self._locks.acquire(session_id)
        try:
            openings = await self._openings(session_id)
            if any(opening.request == request for opening in openings):
                raise Conflict(f"request {request_id!r} of session {redacted(session_id)} is pending already")
            if len(openings) >= PENDING_MAX:
                why = f"{PENDING_MAX} requests of session {redacted(session_id)} are pending"
                raise Refused(f"{why}, as many as may be; complete some", wait_s=_REFUSED_S)
            await self._append(session_id, _STREAM + new_session_id(), Kind.OPENING, request, b"")
        finally:
            self._locks.release(session_id)

    async def complete(self, session_id: str, request_id: RequestId, answer: bytes = b"") -> None:
        """Note that a request has ended, and keep its answer in the journal. Cancelled, it ends as `register` does.

        Raises:
            NotFound: It is not pending, or the session is gone.
            Moved: As `register`.
            Misused: As `register`, or the answer is not bytes.
        """
        if type(answer) is not bytes:
            raise Misused(f"an answer is bytes, not {type(answer).__name__}; encode it")
        request = _encoded(session_id, request_id)
        await self._locks.acquire(session_id)
        try:
            openings = await self._openings(session_id)
            opening = next((opening for opening in openings if opening.request == request), None)
            if opening is None:
                raise NotFound(f"request {request_id!r} of session {redacted(session_id)} is not pending")
            await self._append(session_id, opening.stream, Kind.FINAL, b"", answer)
        finally:
            self._locks.release(session_id)

    async def pending(self, session_id: str) -> list[RequestId]:
        """Return the ids of the requests that were registered and not completed, oldest first."""
        return [msgspec.json.decode(opening.request) for opening in await self._openings(session_id)]

    async def trim(self) -> None:
        """Let the journal keep no more than its bounds say, once a minute at most, and if anything was registered."""
        now = self._clock.now()
        if self._bounds is not None and self._trim_at is not None and now >= self._trim_at:
            self._trim_at = now + TRIM_S
            await self._journal.trim(self._bounds, now)

    # -- helpers, in order of use

    async def _use_each(
        self, due: Generator[str, None, None], use: Callable[[str, float], Awaitable[Record]], now: float
    ) -> None:
        began = stopwatch_ns()
        for session_id in due:
            try:
                await self._look_at(session_id, use, now)
            except BaseException:
                due.close()  # nobody else goes on either: the store may be down
                raise
            if stopwatch_ns() - began > _TURN_NS:
                await asyncio.sleep(0)
                began = stopwatch_ns()

    async def _look_at(self, session_id: str, use: Callable[[str, float], Awaitable[Record]], now: float) -> None:
        known = self.in_flight.of(session_id)  # whatever is registered while the journal is read is not in it
        pending = {opening.stream for opening in await self._openings(session_id)}
        for stream in known - pending:
            self.in_flight.discard(session_id, stream)
        if self.in_flight.of(session_id):
            try:
                self.in_flight.used(await use(session_id, now), now)
            except (NotFound, Corrupt):  # nobody can be answered there any more
                self.in_flight.gone(session_id)

    async def _openings(self, session_id: str) -> list[Entry]:
        if not isinstance(session_id, str):
            return []
        streams = await self._journal.unfinished(session_id)
        return [stream.opening for stream in streams if stream.opening.stream.startswith(_STREAM)]

    async def _append(self, session_id: str, stream: str, kind: Kind, request: bytes, data: bytes) -> None:
        record = await self._store.get(session_id)
        now = self._clock.now()
        if record is None or rules.is_gone(record, now):
            raise NotFound(f"session {redacted(session_id)} is not there")
        entry = Entry(stream, record.term, 0 if kind is Kind.OPENING else 1, kind, now, data, request)
        writing = self._write_and_count(record, entry)
        try:
            error = await shielded(writing, within_s=APPEND_S, name="note a request")
        except TimeoutError as late:
            raise Unavailable(f"the journal did not answer within {APPEND_S:g} s; the outcome is unknown") from late
        if error is not None:
            raise error

    async def _write_and_count(self, record: Record, entry: Entry) -> HoldfastError | None:
        """Append and count in one; return what kept it from being written."""
        error: HoldfastError | None = None
        written: bool | None = None
        try:
            (error,) = await self._journal.append([Batch(record.id, record.term, [entry])])
            written = error is None
        except Unavailable as unknown:
            error = unknown
        except HoldfastError as refused:
            error, written = refused, False
        finally:
            self._count(record, entry, written)
        return error

    def _count(self, record: Record, entry: Entry, written: bool | None) -> None:
        """Invariant: what may be pending counts. If nobody knows (None), the next look at the session finds it out."""
        if entry.kind is Kind.OPENING and written is not False:
            self.in_flight.add(record, entry.stream)
            if self._trim_at is None:
                self._trim_at = entry.at + TRIM_S
        elif entry.kind is Kind.FINAL and written:
            self.in_flight.discard(record.id, entry.stream)


def _encoded(session_id: str, request_id: RequestId) -> bytes:
    if not isinstance(session_id, str):
        raise NotFound(f"session {type(session_id).__name__} is not there")
    if isinstance(request_id, bool) or not isinstance(request_id, (str, int)):
        raise Misused(f"a request id is a str or an int, not {type(request_id).__name__}")
    if isinstance(request_id, int) and not -INT_MAX <= request_id <= INT_MAX:
        raise Misused(f"a request id is an int within ±{INT_MAX}; send larger ones as str")
    try:
        encoded = msgspec.json.encode(request_id)
    except UnicodeEncodeError as error:
        raise Misused("a request id must be valid UTF-8; this one holds a lone surrogate") from error
    if len(encoded) > ID_BYTES_MAX:
        raise Misused(f"a request id has at most {ID_BYTES_MAX} bytes, not {len(encoded)}")
    return encoded
