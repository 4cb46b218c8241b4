"""What a server does with the sessions that it owns under a term."""

from __future__ import annotations

from typing import TypeVar

from msgspec import UNSET, UnsetType

from ..model.session import Record
from . import rules
from .acts import Acts, not_found
from .events import SessionOwnerChanged
from .session import Changes, Session

M = TypeVar("M")


class Owning(Acts[M]):
    """Takes sessions over, and tells of uses that nobody else has seen."""

    async def take_over(
        self, session_id: str, term: int, *, late_s: float = 0.0, owner: str | UnsetType | None = UNSET
    ) -> Session[M]:
        """Make `term` the session's term, so that every node with a lower one is refused; not an access.

        With `owner` only a session is taken over that belongs to that principal, or to none with None.

        With `late_s` a session idle for its timeout is taken over until that many seconds later, because the owner
        before may have seen accesses that it did not write; `max_age` and a timeout of 0 are exact. For everything else
        such a session stays expired until `record_use` tells of an access.
        It is written without fsync: the number itself was made durable when it was given out.

        Raises:
            NotFound: It was never there, belongs to somebody else, or is deleted, terminated or expired for `late_s`
                seconds. Nothing was written.
            Moved: The stored term is higher. Nothing was written.
            Conflict: As `update`.
            Misused: An argument is not valid.
        """
        rules.checked_term(term)
        late_s = rules.wait_s(late_s, "late_s")
        if owner is not UNSET:
            rules.checked_owner(owner)

        def change(record: Record) -> Changes:
            if owner is not UNSET and record.owner != owner:
                raise not_found(session_id)
            return {"term": term}

        return await self._write(session_id, change, SessionOwnerChanged, term=term, sync=False, late_s=late_s)

    async def record_use(self, session_id: str, at: float, *, timeout: float | None) -> None:
        """Tell of a use at `at`, seconds since the epoch, that the session's owner has seen and nobody else.

        Unlike `touch` it does not ask whether the record looks expired: an owner that serves a long call knows better.
        Nothing happens when the session is deleted. `timeout` is the session's own; it bounds how late it is written.
        """
        delay_s = rules.touch_delay_s(rules.duration_s(timeout, "timeout"))
        if self._room is not None:
            self._room.used(session_id)
        await self._store.touch(session_id, rules.moment(at, "at"), within_s=delay_s)
