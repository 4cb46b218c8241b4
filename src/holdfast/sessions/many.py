"""What acts on many sessions: enumerating them, and deleting what has expired."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from ..model.errors import Misused
from ..model.session import State
from ..stores.contract import IdPage, Listing, Query
from . import rules
from .acts import SWEEP_PAGE, Acts
from .groups import Group, Manager
from .scan import Scan
from .session import Session

M = TypeVar("M")

Sessions: TypeAlias = list[Session[M]]

_IDS_PAGE: Final = 5000


class Many(Acts[M]):
    """Enumerates sessions, and ends those whose time is over."""

    async def ids(self, *, late_s: float = 0.0) -> list[str]:
        """Return the id of every active session, damaged ones too where the store can list ids; else as `scan`.

        Expired ones are left out as of the moment at which their page, of 5,000 at most, was read; with `late_s` only
        those that have been so for as many seconds, where the store can list ids (`take_over` says why). All are held
        in memory, 90 bytes each or so: `scan` when that is too much.
        """
        late_s = rules.wait_s(late_s, "late_s")
        if not isinstance(self._store, Listing):
            return [session.id async for session in self.scan()]
        found: list[str] = []
        page = IdPage([], None)
        begun = False
        while not begun or page.cursor is not None:
            begun = True
            page = await self._store.list_ids(self._now() - late_s, cursor=page.cursor, limit=_IDS_PAGE)
            found += page.ids
        return found

    async def list(self, where: Callable[[Session[M]], bool] | None = None) -> Sessions[M]:
        """Return every active session for which `where` is true. All are held in memory: `scan` when they are many.

        Raises:
            Misused: `where` is no function, or async, so that whatever it returned would be true.
        """
        if inspect.iscoroutinefunction(where) or not (where is None or callable(where)):
            raise Misused("where is a plain function of a session; filter what `scan` yields to await something")
        return [session async for session in self.scan() if where is None or where(session)]

    def scan(
        self,
        *,
        prefix: str | None = None,
        tag: str | None = None,
        state: State | None = "active",
        owner: str | None = None,
        cursor: str | None = None,
    ) -> Scan[Session[M]]:
        """Return an async iterator over the sessions that match; `state=None` includes terminated ones.

        A whole scan yields every session that exists throughout it exactly once, whatever is written meanwhile, in
        constant memory. `.cursor` of the iterator continues behind the last session it yielded. No access is counted.
        A session whose record is damaged is left out, and logged. Iterating raises `Misused` when the cursor is none
        of this store, or two tasks ask one scan for the next at once.

        Raises:
            Misused: An argument is no str, or the state none that there is.
        """
        query = rules.checked_query(Query(prefix=prefix, owner=owner, tag=tag, state=state), cursor)
        return Scan(self._store, query, self._clock, lambda record: Session(record, self._home), cursor)

    def group(self: Manager[M], tag: str) -> Group[M]:
        """Return the group of all sessions that carry a tag, to act on together. It exists as long as it has members.

        Raises:
            Misused: The tag is not valid.
        """
        (checked,) = rules.checked_tags([tag])
        return Group(self, checked)

    async def cleanup_expired(self, *, late_s: float | None = None) -> int:
        """Delete every session that has been expired for `late_s` seconds; return how many.

        The cost follows their number. Without `late_s` it is as long as others may take to write an access: 5 s in a
        store that other processes can use, 0 in this process's memory.

        Raises:
            Misused: `late_s` is no number, or less than 0.
        """
        return await self._sweep(None if late_s is None else rules.wait_s(late_s, "late_s"))

    async def expire_due(
        self, limit: int = SWEEP_PAGE, *, now: float | None = None, late_s: float = 0.0
    ) -> Sessions[M]:
        """Delete up to `limit` expired sessions and return them; of racing callers and processes one gets each.

        Expired means at `now`, seconds since the epoch, at least `late_s` seconds ago. A caller that has told its uses
        up to a moment passes that moment, so that nothing it uses expires in between. It passes as `late_s` how late
        others write theirs, so that none of these shortens a life. What has expired less than `late_s` ago stays
        stored, and is `NotFound` all the same.

        Raises:
            Misused: `limit` is no int of 1 or more, `now` no moment, or `late_s` no number of 0 or more.
        """
        before = (self._now() if now is None else rules.moment(now, "now")) - rules.wait_s(late_s, "late_s")
        limit = rules.count(limit, "limit")
        expired: Sessions[M] = []
        while gone := await self._expire(before, min(limit - len(expired), SWEEP_PAGE)):
            expired += [Session(record, self._home) for record in gone]
            if limit <= SWEEP_PAGE or len(expired) >= limit:
                break
        return expired
