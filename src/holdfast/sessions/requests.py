"""Requests in flight: registered, completed, and still known when the process that took them is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ..model.clock import Clock
from ..model.errors import Conflict, Corrupt, Misused, NotFound
from ..model.ids import new_session_id, redacted
from ..model.session import Record
from ..stores.contract import Entry, Journal, Kind, Store, append_to
from . import rules
from .locks import SessionLocks

RequestId = str | int
INT_MAX: Final = 2**53 - 1
ID_BYTES_MAX: Final = 1024

_LOOK_S: Final = 60.0
_STREAM: Final = "request:"


class Requests:
    """Keeps which requests of a session are pending, in its journal. 1 and "1" are two requests.

    What is registered outlives the process that registered it, and goes with the session. Two tasks of one process
    cannot register the same request; between processes the session's term decides who may write at all. While a request
    is pending that was registered here, its session is in use: a manager that is entered lets it not expire, but for
    `max_age`.
    """

    def __init__(self, clock: Clock) -> None:
        self._store: Store
        self._journal: Journal
        self._clock = clock
        self._locks = SessionLocks()
        self._in_flight: Counter[str] = Counter()
        self._look_at: dict[str, float] = {}

    def keep_in(self, store: Store, journal: Journal) -> None:
        """Keep them in this store from now on."""
        self._store, self._journal = store, journal

    async def use_sessions(self, use: Callable[[str, float], Awaitable[Record]]) -> None:
        """Count an access of every session that has a request in flight here, when a third of its life is over."""
        now = self._clock.now()
        for session_id in [session_id for session_id, at in self._look_at.items() if at <= now]:
            try:
                record = await use(session_id, now)
            except (NotFound, Corrupt):  # nobody can be answered there any more
                self._forget(session_id)
            else:
                self._look_at[session_id] = now + (record.timeout or _LOOK_S) / 3

    async def register(self, session_id: str, request_id: RequestId) -> None:
        """Note that a request has begun.

        Raises:
            Conflict: It is pending already. Nothing was changed.
            NotFound: The session is gone.
            Moved: Another owner took the session over in this moment. Nothing was changed.
            Misused: The id is neither a str nor an int within ±(2**53 - 1).
        """
        request = _encoded(request_id)
        await self._locks.acquire(session_id)
        try:
            if await self._opening(session_id, request) is not None:
                raise Conflict(f"request {request_id!r} of session {redacted(session_id)} is pending already")
            await self._append(session_id, _STREAM + new_session_id(), Kind.OPENING, request, b"")
            self._in_flight[session_id] += 1
            self._look_at[session_id] = self._clock.now()
        finally:
            self._locks.release(session_id)

    async def complete(self, session_id: str, request_id: RequestId, answer: bytes = b"") -> None:
        """Note that a request has ended, and keep its answer in the journal.

        Raises:
            NotFound: It is not pending, or the session is gone.
            Moved, Misused: As `register`.
        """
        request = _encoded(request_id)
        await self._locks.acquire(session_id)
        try:
            opening = await self._opening(session_id, request)
            if opening is None:
                raise NotFound(f"request {request_id!r} of session {redacted(session_id)} is not pending")
            await self._append(session_id, opening.stream, Kind.FINAL, b"", answer)
            self._in_flight[session_id] -= 1
            if self._in_flight[session_id] <= 0:
                self._forget(session_id)
        finally:
            self._locks.release(session_id)

    async def pending(self, session_id: str) -> list[RequestId]:
        """Return the ids of the requests that were registered and not completed, oldest first."""
        return [msgspec.json.decode(opening.request) for opening in await self._openings(session_id)]

    def _forget(self, session_id: str) -> None:
        self._in_flight.pop(session_id, None)
        self._look_at.pop(session_id, None)

    async def _opening(self, session_id: str, request: bytes) -> Entry | None:
        return next((opening for opening in await self._openings(session_id) if opening.request == request), None)

    async def _openings(self, session_id: str) -> list[Entry]:
        streams = await self._journal.unfinished(session_id)
        return [stream.opening for stream in streams if stream.opening.stream.startswith(_STREAM)]

    async def _append(self, session_id: str, stream: str, kind: Kind, request: bytes, data: bytes) -> None:
        record = await self._store.get(session_id)
        now = self._clock.now()
        if record is None or rules.is_gone(record, now):
            raise NotFound(f"session {redacted(session_id)} is not there")
        entry = Entry(stream, record.term, 0 if kind is Kind.OPENING else 1, kind, now, data, request)
        await append_to(self._journal, session_id, record.term, [entry])


def _encoded(request_id: RequestId) -> bytes:
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
