"""Which sessions have requests in flight here, and when each is to be looked at next, so that it does not expire."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from ..model.session import Record

UNTIMED_S: Final = 20.0
LOOK_S_MAX: Final = 3600.0


class _Session:
    """The requests of one session, its timeout as it was last seen, and the second under which it is filed."""

    __slots__ = ("second", "streams", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.streams: set[str] = set()
        self.timeout = timeout
        self.second = 0


class InFlight:
    """The streams of requests by session. A session is filed under the second in which a third of its life is over.

    Each act costs the same, however many there are. A session without requests is not here.
    """

    __slots__ = ("_by_second", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[str, _Session] = {}
        """By id. Whoever has many records to tell of need not call when it is empty."""
        self._by_second: dict[int, dict[str, None]] = {}  # LOOK_S_MAX bounds how many seconds there are

    def of(self, session_id: str) -> frozenset[str]:
        """Return the streams of the requests of a session."""
        session = self.sessions.get(session_id)
        return frozenset() if session is None else frozenset(session.streams)

    def add(self, record: Record, stream: str) -> None:
        """Note that a request has begun."""
        session = self.sessions.get(record.id)
        if session is None:
            session = self.sessions[record.id] = _Session(record.timeout)
            self._file(record.id, session, record.last_accessed)
        session.streams.add(stream)

    def discard(self, session_id: str, stream: str) -> None:
        """Note that a request has ended; nothing happens when it was not noted here."""
        session = self.sessions.get(session_id)
        if session is not None:
            session.streams.discard(stream)
            if not session.streams:
                self.gone(session_id)

    def gone(self, session_id: str) -> None:
        """Forget a session that nobody can use any more."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self._unfile(session_id, session)

    def used(self, record: Record, at: float) -> None:
        """Note that a session was used at `at`."""
        session = self.sessions.get(record.id)
        if session is not None:
            session.timeout = record.timeout
            self._file(record.id, session, at)

    def written(self, record: Record) -> None:
        """Forget a session that was ended; look at one earlier or later whose timeout is another one now."""
        session = self.sessions.get(record.id)
        if session is None:
            return
        if record.state != "active":
            self.gone(record.id)
        elif session.timeout != record.timeout:
            self.used(record, record.last_accessed)

    def due(self, now: float) -> Generator[str, None, None]:
        """Return the sessions that are to be looked at; each stays due until it is `used` or `gone`."""
        for second in sorted(second for second in self._by_second if second <= now):
            for session_id in list(self._by_second.get(second, ())):
                if session_id in self.sessions:
                    yield session_id

    def _file(self, session_id: str, session: _Session, used_at: float) -> None:
        self._unfile(session_id, session)
        third_s = UNTIMED_S if session.timeout is None else min(session.timeout / 3, LOOK_S_MAX)
        session.second = int(used_at + third_s)
        self._by_second.setdefault(session.second, {})[session_id] = None

    def _unfile(self, session_id: str, session: _Session) -> None:
        filed = self._by_second.get(session.second)
        if filed is not None:
            filed.pop(session_id, None)
            if not filed:
                del self._by_second[session.second]
