"""All sessions with one tag, acted on together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from ..model.errors import NotFound
from .rules import Duration
from .scan import Scan
from .session import Session

M = TypeVar("M")

BATCH: Final = 100


class Progress(msgspec.Struct, frozen=True):
    """How far an act on a group has come: members it was `done` to, and members that were `gone` before."""

    done: int
    gone: int


class Manager(Protocol[M]):
    """What a group asks of the manager of its sessions."""

    async def tag(self, session_id: str, *tags: str) -> Session[M]:
        """See `SessionManager.tag`."""
        ...

    async def untag(self, session_id: str, *tags: str) -> Session[M]:
        """See `SessionManager.untag`."""
        ...

    async def terminate(self, session_id: str, reason: str | None = None) -> Session[M]:
        """See `SessionManager.terminate`."""
        ...

    async def set_timeout(self, session_id: str, timeout: Duration) -> Session[M]:
        """See `SessionManager.set_timeout`."""
        ...

    def scan(self, *, tag: str | None = None, cursor: str | None = None) -> Scan[Session[M]]:
        """See `SessionManager.scan`."""
        ...


class Group(Generic[M]):
    """The active sessions that carry a tag, of `SessionManager.group`. Whoever has it is a member, however it came.

    An act on all goes through the sessions of the store, 100 members at a time, and calls `on_progress` after each
    batch. It is not one transaction: who joins meanwhile may or may not be reached, and what an error interrupts stays
    as far as it came; doing it again is safe.
    """

    __slots__ = ("_manager", "name")

    def __init__(self, manager: Manager[M], name: str) -> None:
        self._manager = manager
        self.name = name

    async def join(self, session_id: str) -> Session[M]:
        """Make a session a member. Counts as an access.

        Raises:
            NotFound, Conflict, Misused: As `SessionManager.update`.
        """
        return await self._manager.tag(session_id, self.name)

    async def leave(self, session_id: str) -> Session[M]:
        """Make a session no member any more, also when it is none. Counts as an access.

        Raises:
            NotFound, Conflict: As `SessionManager.update`.
        """
        return await self._manager.untag(session_id, self.name)

    def members(self, *, cursor: str | None = None) -> Scan[Session[M]]:
        """Return an async iterator over the members, as `SessionManager.scan`. No access is counted."""
        return self._manager.scan(tag=self.name, cursor=cursor)

    async def count(self) -> int:
        """Return how many members there are; the cost follows all sessions of the store."""
        return sum([1 async for _ in self.members()])

    async def terminate(
        self, reason: str | None = None, *, on_progress: Callable[[Progress], object] | None = None
    ) -> Progress:
        """End every member for good, as `SessionManager.terminate`; return how many.

        Raises:
            Conflict, Misused, Moved: As `terminate`. Those before are ended, the rest are not.
        """
        return await self._for_all(lambda session_id: self._manager.terminate(session_id, reason), on_progress)

    async def set_timeout(
        self,
        timeout: Duration,  # the life of each session
        *,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Progress:
        """Set the timeout of every member, as `SessionManager.set_timeout`; return how many.

        Raises:
            Conflict, Misused: As `set_timeout`. Those before have it, the rest have not.
        """
        return await self._for_all(lambda session_id: self._manager.set_timeout(session_id, timeout), on_progress)

    async def _for_all(
        self, act: Callable[[str], Awaitable[Any]], on_progress: Callable[[Progress], object] | None
    ) -> Progress:
        progress = Progress(0, 0)
        batch: list[str] = []
        members = self.members()
        ended = False
        while not ended:
            batch.clear()
            async for session in members:
                batch.append(session.id)
                if len(batch) == BATCH:
                    break
            else:
                ended = True
            outcomes = await asyncio.gather(*map(act, batch), return_exceptions=True)
            gone = sum(isinstance(outcome, NotFound) for outcome in outcomes)
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, NotFound):
                    raise outcome
            progress = Progress(progress.done + len(batch) - gone, progress.gone + gone)
            if on_progress is not None and batch:
                on_progress(progress)
        return progress
