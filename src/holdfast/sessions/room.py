"""How many sessions there may be, and which one goes when there are too many."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Final, Literal, TypeAlias

import msgspec

from ..model.errors import Corrupt, Misused, Refused
from ..model.ids import redacted
from ..stores.contract import Described, Query, Store
from .by_use import MARK, ByUse

_log = logging.getLogger(__name__)

RELOAD_S: Final = 60.0
REFUSED_S: Final = 30.0
EVICTED_MAX: Final = 1000
"""How many one create tries to evict; when there are more too many, the next ones go on."""
_EVICTED_AT_ONCE: Final = 50
_PAGE: Final = 1000
_SLICE: Final = 500


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How many active sessions a manager lets there be, in all and of each owner; None is no bound.

    When a session more is to be created, `when_full` is "refuse", which raises `Refused`, or "evict", by which the one
    that was used least recently is deleted: of all, or of the same owner. Sessions without an owner share no bound but
    the one of all. In a store that several processes write, each counts the others' sessions anew every minute, so for
    that long there may be more. Where there are too many from before, each create evicts up to 1,000 of them. What is
    damaged can neither be used nor make room, and does not count.
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
        self._sweeps = 0
        self._order = ByUse(capacity.per_owner is not None)
        self._coming: Counter[str | None] = Counter()
        self._coming_in_all = 0
        self._making = asyncio.Lock()
        self._shared: bool | None = None  # None: not loaded yet
        self._loaded_at = -math.inf
        self._loading = asyncio.Lock()
        # While it is loaded: what was used, or went (False), meanwhile, the latest last.
        self._meanwhile: OrderedDict[str, bool] | None = None

    async def admit(self, store: Store, owner: str | None, now: float) -> None:
        """Make room for one session more of `owner`, which `came` or `left_out` follows.

        Raises:
            Refused: There are as many as may be.
        """
        if self._shared is not False:
            await self._load(store, now, wait=self._shared is None)
        sweeps = self._sweeps
        if self._full_for(owner):
            async with self._making:
                await self._make_room(store, owner, now, sweeps)
        self._coming[owner] += 1
        self._coming_in_all += 1

    def came(self, session_id: str, owner: str | None) -> None:
        """Count a session that was admitted and is stored now."""
        self.left_out(owner)
        self._order.add(session_id, owner)
        self._note(session_id, True)

    def left_out(self, owner: str | None) -> None:
        """Give back the room of a session that was admitted and could not be stored."""
        self._coming_in_all -= 1
        self._coming[owner] -= 1
        if not self._coming[owner]:
            del self._coming[owner]

    def used(self, session_id: str) -> None:
        """Put a session behind all others."""
        self._order.move_to_end(session_id)
        if self._meanwhile is not None:
            self._note(session_id, True)

    def gone(self, session_id: str) -> None:
        """Forget a session that is deleted or terminated."""
        self._order.remove(session_id)
        self._note(session_id, False)

    def _note(self, session_id: str, is_there: bool) -> None:
        if self._meanwhile is not None:
            self._meanwhile[session_id] = is_there
            self._meanwhile.move_to_end(session_id)

    def _full_for(self, owner: str | None) -> tuple[Collection[str], int] | None:
        """Return among whom room must be made for one more of `owner`, and by how many, or None if there is room."""
        per_owner, bound = self._capacity.per_owner, self._capacity.sessions
        if per_owner is not None and owner is not None:
            own = self._order.of(owner)
            excess = len(own) + self._coming[owner] + 1 - per_owner
            if excess > 0:
                return own, excess
        if bound is not None:
            excess = len(self._order) + self._coming_in_all + 1 - bound
            if excess > 0:
                return self._order.all, excess
        return None

    async def _make_room(self, store: Store, owner: str | None, now: float, sweeps: int) -> None:
        """Sweep, unless somebody began to since there were `sweeps`, then evict. One does at a time."""
        if self._full_for(owner) and sweeps == self._sweeps:
            self._sweeps += 1
            await self._sweep()
        tried = gone = 0
        while full := self._full_for(owner):
            among, excess = full
            if self._capacity.when_full == "refuse":
                if now < self._loaded_at + RELOAD_S:
                    raise self._refused(full)
                await self._load(store, now, wait=True)  # others may have made room, be it only others of this process
                continue
            if tried >= EVICTED_MAX and gone:
                return  # there are fewer than before
            at_once = min(excess, _EVICTED_AT_ONCE, EVICTED_MAX - tried)
            found = [session_id for session_id in islice(among, at_once + 1) if session_id != MARK][:at_once]
            if not found:
                raise self._refused(full)
            tried += len(found)
            gone += await self._evict_all(found)

    async def _evict_all(self, found: list[str]) -> int:
        if len(found) == 1:
            return await self._evicted(found[0])
        outcomes = await asyncio.gather(*map(self._evicted, found), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes.count(True)

    async def _evicted(self, session_id: str) -> bool:
        try:
            evicted = await self._evict(session_id)
        except Corrupt:
            _log.warning("session %s is damaged; it cannot make room, and counts no longer", redacted(session_id))
            self.gone(session_id)
            return True
        if not evicted:
            self.used(session_id)  # somebody wrote it meanwhile
        return evicted

    def _refused(self, full: tuple[Collection[str], int]) -> Refused:
        whose = f"{self._capacity.sessions} sessions"
        if full[0] is not self._order.all:
            whose = f"{self._capacity.per_owner} sessions of this owner"
        return Refused(f"there are {whose}, as many as may be; end some, or try again later", wait_s=REFUSED_S)

    async def _load(self, store: Store, now: float, *, wait: bool) -> None:
        """Learn what is stored if a minute has passed; when somebody does already, go on unless told to wait."""
        if now < self._loaded_at + RELOAD_S or (self._loading.locked() and not wait):
            return
        async with self._loading:
            if now < self._loaded_at + RELOAD_S:
                return
            shared = self._shared
            if shared is None:
                shared = not isinstance(store, Described) or (await store.info()).shared
            self._meanwhile = OrderedDict()
            try:
                await self._take_over(await _stored(store), self._meanwhile)
            finally:
                self._meanwhile = None
                self._order.remove(MARK)
            self._shared, self._loaded_at = shared, now

    async def _take_over(self, stored: list[list[_Stored]], meanwhile: OrderedDict[str, bool]) -> None:
        """Have in order what is stored, then what came or was used since this began; the rest is gone."""
        order = self._order
        order.add(MARK, None)
        by_use = merge(*map(_emptied, stored), key=_LAST_USE)
        while some := list(islice(by_use, _SLICE)):
            for _, session_id, owner in some:
                if meanwhile.get(session_id, True):
                    order.add(session_id, owner)
            await asyncio.sleep(0)
        for _ in range(len(meanwhile) // _SLICE):
            self._move_used(meanwhile, _SLICE)
            await asyncio.sleep(0)
        self._move_used(meanwhile, len(meanwhile))
        left = 0
        while (unseen := next(iter(order.all))) != MARK:
            order.remove(unseen)
            left += 1
            if left % _SLICE == 0:
                await asyncio.sleep(0)

    def _move_used(self, meanwhile: OrderedDict[str, bool], count: int) -> None:
        for _ in range(count):
            session_id, is_there = meanwhile.popitem(last=False)
            if is_there:
                self._order.move_to_end(session_id)


_Stored: TypeAlias = tuple[float, str, str | None]
"""When a session was used last, its id and its owner."""

_LAST_USE: Final = itemgetter(0)


async def _stored(store: Store) -> list[list[_Stored]]:
    """Return the active sessions in pages, the last used first: to sort them all at once would stall the loop."""
    found: list[list[_Stored]] = []
    cursor: str | None = None
    begun = False
    while not begun or cursor is not None:
        begun = True
        page = await store.scan(Query(state="active"), cursor=cursor, limit=_PAGE)
        uses = [(each.last_accessed, each.id, each.owner) for each in page.records]
        uses.sort(key=_LAST_USE, reverse=True)
        found.append(uses)
        cursor = page.cursor
    return found


def _emptied(page: list[_Stored]) -> Iterator[_Stored]:
    """Yield from behind, and let go of each: to let go of them all at once would stall the loop too."""
    while page:
        yield page.pop()
