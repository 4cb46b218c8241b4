"""How many sessions there may be, and which one goes when there are too many."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from ..model.errors import Misused, Refused
from ..model.session import Record
from ..stores.contract import Query, Store

RELOAD_S: Final = 60.0
REFUSED_S: Final = 30.0
_TRIES_MAX: Final = 100
_PAGE: Final = 1000


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How many active sessions a manager lets there be, in all and of each owner; None is no bound.

    When a session more is to be created, `when_full` is "refuse", which raises `Refused`, or "evict", by which the one
    that was used least recently is deleted: of all, or of the same owner. Sessions without an owner share no bound but
    the one of all. In a store that several processes write, each counts the others' sessions anew every minute, so for
    that long there may be more.
    """

    sessions: int | None = None
    per_owner: int | None = None
    when_full: Literal["refuse", "evict"] = "refuse"

    def __post_init__(self) -> None:
        for name, bound in (("sessions", self.sessions), ("per_owner", self.per_owner)):
            if bound is not None and (type(bound) is not int or bound < 1):
                raise Misused(f"Capacity({name}={bound!r}): it is an int of 1 or more, or None for no bound")
        if self.when_full not in ("refuse", "evict"):
            raise Misused(f'Capacity(when_full={self.when_full!r}): it is "refuse" or "evict"')


class Room:
    """Keeps the active sessions in the order of their last use, and makes room for new ones.

    `evict` deletes a session, if it is still there, and returns whether it is gone; `sweep` deletes what is expired.
    Both tell of each session that went by `gone`.
    """

    def __init__(
        self, capacity: Capacity, evict: Callable[[str], Awaitable[bool]], sweep: Callable[[], Awaitable[object]]
    ) -> None:
        self._capacity = capacity
        self._evict = evict
        self._sweep = sweep
        self._by_use: OrderedDict[str, str | None] = OrderedDict()
        self._by_owner: dict[str, OrderedDict[str, None]] = {}
        self._coming: list[str | None] = []
        self._reload_at = 0.0
        self._loading = asyncio.Lock()

    async def admit(self, store: Store, owner: str | None, now: float) -> None:
        """Make room for one session more of `owner`, which `came` or `left_out` follows.

        Raises:
            Refused: There are as many as may be.
        """
        async with self._loading:
            if now >= self._reload_at:
                await self._load(store)
                self._reload_at = now + RELOAD_S
        swept = False
        for _ in range(_TRIES_MAX):
            full = self._full_for(owner)
            if full is None:
                self._coming.append(owner)
                return
            if not swept:
                swept = True
                await self._sweep()
            elif self._capacity.when_full == "evict" and (found := next(iter(full), None)) is not None:
                if not await self._evict(found):
                    self.used(found)  # somebody wrote it meanwhile
            else:
                break
        whose = f"{self._capacity.sessions} sessions"
        if full is not self._by_use:
            whose = f"{self._capacity.per_owner} sessions of this owner"
        raise Refused(f"there are {whose}, as many as may be; end some, or try again later", wait_s=REFUSED_S)

    def came(self, session_id: str, owner: str | None) -> None:
        """Count a session that was admitted and is stored now."""
        self._coming.remove(owner)
        self._count(session_id, owner)

    def left_out(self, owner: str | None) -> None:
        """Give back the room of a session that was admitted and could not be stored."""
        self._coming.remove(owner)

    def used(self, session_id: str) -> None:
        """Put a session behind all others."""
        if session_id in self._by_use:
            self._by_use.move_to_end(session_id)
            owner = self._by_use[session_id]
            if owner in self._by_owner:
                self._by_owner[owner].move_to_end(session_id)

    def gone(self, session_id: str) -> None:
        """Forget a session that is deleted or terminated."""
        owner = self._by_use.pop(session_id, None)
        if owner in self._by_owner:
            self._by_owner[owner].pop(session_id, None)
            if not self._by_owner[owner]:
                del self._by_owner[owner]

    def _full_for(self, owner: str | None) -> OrderedDict[str, str | None] | OrderedDict[str, None] | None:
        """Return among whom room must be made for one more of `owner`, or None if there is room."""
        per_owner, bound = self._capacity.per_owner, self._capacity.sessions
        if per_owner is not None and owner is not None:
            own = self._by_owner.get(owner) or OrderedDict()
            if len(own) + self._coming.count(owner) >= per_owner:
                return own
        if bound is not None and len(self._by_use) + len(self._coming) >= bound:
            return self._by_use
        return None

    def _count(self, session_id: str, owner: str | None) -> None:
        self._by_use[session_id] = owner
        if owner is not None and self._capacity.per_owner is not None:
            self._by_owner.setdefault(owner, OrderedDict())[session_id] = None

    async def _load(self, store: Store) -> None:
        """Learn what is stored, in the order of use."""
        found: list[Record] = []
        cursor: str | None = None
        while True:
            page = await store.scan(Query(state="active"), cursor=cursor, limit=_PAGE)
            found += page.records
            cursor = page.cursor
            if cursor is None:
                break
        await asyncio.to_thread(found.sort, key=lambda record: record.last_accessed)
        self._by_use.clear()
        self._by_owner.clear()
        for record in found:
            self._count(record.id, record.owner)
