"""One task at a time per session, so that tasks of one process queue up instead of conflicting."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from ..model.errors import Refused
from ..model.ids import redacted

WAITING_MAX: Final = 10_000


class SessionLocks:
    """A lock per session id that costs nothing while nobody holds it. First come, first served."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[asyncio.Future[None], None] | None] = {}

    def is_free(self, session_id: str) -> bool:
        """Tell whether nobody holds the lock."""
        return session_id not in self._held

    def take(self, session_id: str) -> bool:
        """Take the lock if nobody holds it; return whether this did, for then `release` must follow."""
        if session_id in self._held:
            return False
        self._held[session_id] = None
        return True

    async def acquire(self, session_id: str) -> None:
        """Return once this task holds the lock; `release` must follow.

        Raises:
            Refused: 10,000 tasks wait for it already.
        """
        if self.take(session_id):
            return
        waiting = self._held[session_id]
        if waiting is None:
            waiting = self._held[session_id] = OrderedDict()
        if len(waiting) >= WAITING_MAX:
            raise Refused(f"{WAITING_MAX} tasks wait for session {redacted(session_id)}; wait 1 s", wait_s=1.0)
        turn = asyncio.get_running_loop().create_future()
        waiting[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            waiting.pop(turn, None)  # so that it counts no more, and what keeps on giving up costs nothing
            if turn.done() and not turn.cancelled():
                # The lock was handed over in the moment of the cancellation: hand it on.
                self.release(session_id)
            raise

    def release(self, session_id: str) -> None:
        """Hand the lock to the task that has waited longest, if any."""
        waiting = self._held.pop(session_id)
        while waiting:
            turn, _ = waiting.popitem(last=False)
            if not turn.done():
                self._held[session_id] = waiting
                turn.set_result(None)
                return
