"""What every act of a manager comes down to: a record read, written or removed, and whoever must know of it told."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, Generic, TypeAlias, TypeVar

from ..model.clock import Clock
from ..model.errors import Conflict, Misused, Moved, NotFound, Refused, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from ..runtime import uncancelled
from ..stores.contract import Journal, Resident, Store
from . import rules
from .events import SessionDeleted, SessionEvent, SessionEvicted, SessionExpired, SessionUpdated
from .locks import SessionLocks
from .metrics import Meter
from .requests import Requests
from .retention import Retention
from .room import Capacity, Room
from .session import Changes, Draft, Home, Session
from .subscriptions import Subscriptions

M = TypeVar("M")
T = TypeVar("T")

TRIES_MAX: Final = 60
SHARED_LATE_S: Final = 5.0
CHANGE_S: Final = 30.0
SWEEP_PAGE: Final = 500
_PAUSE_S_MAX: Final = 0.1

Kind: TypeAlias = type[SessionEvent[M]]
Change: TypeAlias = Callable[[Draft[M]], Draft[M] | Awaitable[Draft[M]]]
"""What an update does to a draft."""


class Acts(Generic[M]):
    """Reads, writes and removes records of one store, and keeps count."""

    def __init__(
        self,
        store: Store,
        home: Home[M],
        clock: Clock,
        default_timeout_s: float | None,
        capacity: Capacity | None,
        retention: Retention,
    ) -> None:
        self._retention = retention
        self._requests = Requests(clock, retention.journal)
        self._in_flight = self._requests.in_flight.sessions  # looked at by every write
        self._use_store(store)
        # How late this sweeps what others may use: they write an access by the deadline that it extends, and a little.
        self._late_s = 0.0 if self._resident is not None else SHARED_LATE_S
        self._home = home
        self._clock = clock
        self._now = clock.now
        self._default_timeout_s = default_timeout_s
        self._locks = SessionLocks()
        self._meter = Meter()
        self._subscriptions = Subscriptions()
        self._room = None if capacity is None else Room(capacity, self._evict, self._sweep)

    def _use_store(self, store: Store) -> None:
        self._store = store
        self._resident = store if isinstance(store, Resident) else None
        if isinstance(store, Journal):
            self._requests.keep_in(store, store)

    async def _use(self, session_id: str, now: float) -> Record:
        """Count an access at `now`, or a little later; return the record.

        Raises:
            NotFound: The session is gone.
        """
        record = await self._store.get(session_id) if isinstance(session_id, str) else None
        if record is None or (left_s := rules.left_s(record, now)) <= 0:
            raise self._missed(session_id)
        if self._room is not None:
            self._room.used(session_id)
        # Others delete a session a little after the deadline that is written: by then this access must be.
        await self._store.touch(session_id, now, within_s=min(rules.touch_delay_s(record.timeout), left_s))
        return record

    async def _write(
        self,
        session_id: str,
        change: Callable[[Record], Changes | Awaitable[Changes]],
        kind: Kind[M],
        *,
        term: int | None = None,
        sync: bool = True,
        late_s: float | None = None,
        within_s: float = CHANGE_S,
    ) -> Session[M]:
        """Write what `change` says of the record, and tell of it as an event of `kind`.

        An access, unless it is an owner taking it over, `late_s` seconds after its end at the latest.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired. Nothing was written.
            Moved: The stored term is higher than `term`. Nothing was written.
            Conflict: Others wrote in between every time it was tried. Nothing was written.
            Refused: `change` took longer than `within_s` seconds. Nothing was written.
        """
        if not isinstance(session_id, str):
            raise self._missed(session_id)
        if not self._locks.take(session_id):
            await self._locks.acquire(session_id)
        try:
            for attempt in range(TRIES_MAX):
                record = await self._store.get(session_id)
                now = self._now()
                if record is None or (left_s := rules.left_s(record, now, late_s or 0.0)) <= 0:
                    raise self._missed(session_id)
                if term is not None and record.term > term:
                    raise moved(record, term)
                changes = change(record)
                if not isinstance(changes, dict):
                    changes = await _within(within_s, changes, session_id)
                    began, now = now, self._now()
                    if now - began >= left_s:
                        # It ended while `change` ran, unless it was accessed meanwhile: the next look decides.
                        continue
                changed = rules.next_version(record, now if late_s is None else record.last_accessed, changes)
                try:
                    return await self._whole(self._put_changed(changed, kind, now, sync))
                except VersionConflict:
                    await asyncio.sleep(random.uniform(0, min(_PAUSE_S_MAX, 0.001 * 2**attempt)))
            raise Conflict(f"session {redacted(session_id)} was written by others {TRIES_MAX} times; try again later")
        finally:
            self._locks.release(session_id)

    async def _put_changed(self, changed: Record, kind: Kind[M], now: float, sync: bool) -> Session[M]:
        await self._store.put(changed, expect=changed.version - 1, durable=sync)
        self._meter.updated += 1
        return self._written(changed, now, kind)

    async def _whole(self, act: Coroutine[Any, Any, T]) -> T:
        """Have an act of the store, and the telling of it, done to the end whoever is cancelled.

        A store may have taken a write whose caller hears no more of it. In a `Resident` one nothing can come between.
        """
        return await (act if self._resident is not None else uncancelled(act, name="write a session"))

    def _update_now(
        self, resident: Resident, session_id: str, fn: Change[M], begun: list[ChangesLater[M]]
    ) -> Session[M] | None:
        """Update without waiting for anything; return None where somebody must be waited for or told why not.

        What `fn` began meanwhile is in `begun` then.
        """
        now = self._now()
        found = resident.find_now(session_id, now)
        if found is None or not self._locks.is_free(session_id):
            return None
        record, used_at = found
        draft = Draft(record, self._home, used_at)
        returned = fn(draft)
        if returned is not draft:
            begun.append(_later(draft, returned))
            return None
        changed = rules.next_version(record, now if now > used_at else used_at, draft.changes())
        resident.put_now(changed, record.version)
        return self._written(changed, now, SessionUpdated)

    def _changes(
        self, fn: Change[M], begun: list[ChangesLater[M]], record: Record, used_at: float = 0.0
    ) -> Changes | ChangesLater[M]:
        """Return what `fn` changes of a record, or will have changed."""
        if begun:
            return begun.pop()
        draft = Draft(record, self._home, used_at)
        returned = fn(draft)
        return draft.changes() if returned is draft else _later(draft, returned)

    def _written(self, record: Record, now: float, kind: Kind[M]) -> Session[M]:
        """Count and tell of a record that was written."""
        if self._room is not None:
            (self._room.used if record.state == "active" else self._room.gone)(record.id)
        if self._in_flight:
            self._requests.in_flight.written(record)
        if self._subscriptions.all:
            # One of their own: the metadata of the other belongs to the caller.
            self._subscriptions.publish(kind(Session(record, self._home), now))
        return Session(record, self._home)

    def _removed(self, record: Record, kind: Kind[M]) -> None:
        """Count a session that the store has no more, let go of it and tell; the event still has its live objects."""
        if kind is SessionDeleted:
            self._meter.deleted += 1
        elif kind is SessionExpired:
            self._meter.expired += 1
        else:
            self._meter.evicted += 1
        if self._room is not None:
            self._room.gone(record.id)
        if self._in_flight:
            self._requests.in_flight.gone(record.id)
        home = self._home.without(record) if self._home.locals else self._home
        if self._subscriptions.all:
            self._subscriptions.publish(kind(Session(record, home), self._now()))

    async def _expire(self, now: float, limit: int) -> list[Record]:
        """Delete what is due at `now`, to the end whoever is cancelled; tell of it, and return it."""
        return await uncancelled(self._expire_and_tell(now, limit), name="delete expired sessions")

    async def _expire_and_tell(self, now: float, limit: int) -> list[Record]:
        gone = await self._store.expire(now, limit=limit)
        for record in gone:
            self._removed(record, SessionExpired)
        return gone

    async def _sweep(self, late_s: float | None = None) -> int:
        """Delete what has been expired for `late_s` seconds now, in slices; return how much."""
        now = self._now() - (self._late_s if late_s is None else late_s)
        count = 0
        while gone := await self._expire(now, SWEEP_PAGE):
            count += len(gone)
            await asyncio.sleep(0)
        return count

    async def _evict(self, session_id: str) -> bool:
        record = await self._store.get(session_id)
        if record is None or record.state != "active":
            assert self._room is not None
            self._room.gone(session_id)
            return True
        return await self._whole(self._delete(record, SessionEvicted))

    async def _delete(self, record: Record, kind: Kind[M], *, sync: bool = True, whatever: bool = False) -> bool:
        """Delete the record that was read (`whatever`: or what came after it), and tell; return whether this did."""
        expect = None if whatever else record
        deleted = await self._store.delete(record.id, expect=expect, durable=sync)
        if deleted:
            self._removed(record, kind)
        return deleted

    def _missed(self, session_id: object) -> NotFound:
        """Count a session that was asked for and is not there; return the error that says so."""
        self._meter.misses += 1
        return not_found(session_id)


class ChangesLater(Generic[M]):
    """What an async function of an update will have changed: awaited, or else left."""

    __slots__ = ("_draft", "_returning")

    def __init__(self, draft: Draft[M], returning: Awaitable[Draft[M]]) -> None:
        self._draft = draft
        self._returning = returning

    def __await__(self) -> Generator[Any, Any, Changes]:
        returned = yield from self._returning.__await__()
        if returned is not self._draft:
            raise wrong_draft(returned)
        return self._draft.changes()

    def leave(self) -> None:
        """End what was begun and will not be awaited."""
        end = getattr(self._returning, "close", None) or getattr(self._returning, "cancel", None)
        if end is not None:
            end()


def _later(draft: Draft[M], returned: Draft[M] | Awaitable[Draft[M]]) -> ChangesLater[M]:
    """Return what an async function will have changed."""
    if inspect.isawaitable(returned):
        return ChangesLater(draft, returned)
    raise wrong_draft(returned)


async def _within(within_s: float, changing: Awaitable[Changes], session_id: str) -> Changes:
    try:
        async with asyncio.timeout(within_s) as patience:
            return await changing
    except TimeoutError as error:
        if not patience.expired():
            raise
        why = f"the update of session {redacted(session_id)} took longer than {within_s:g} s, and all others wait"
        raise Refused(f"{why}; await less in fn", wait_s=0.0) from error


def moved(record: Record, term: int) -> Moved:
    """Return the error of whoever writes for an earlier owner."""
    return Moved(f"session {redacted(record.id)} has term {record.term}, yours is {term}; stop serving it")


def not_found(session_id: object) -> NotFound:
    """Return the error of whoever asks for what is not there."""
    shown = redacted(session_id) if isinstance(session_id, str) else type(session_id).__name__
    return NotFound(f"session {shown} is not there: it never was, or it is deleted, terminated or expired")


def wrong_draft(returned: object) -> Misused:
    """Return the error of whoever forgot what an update's function returns."""
    return Misused(f"fn returns the draft it was given, not {type(returned).__name__}; add `return draft`")
