"""Creates, reads, changes and ends sessions; the only writer of session records."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ..codec.models import codec_for
from ..model.clock import Clock, SystemClock
from ..model.errors import Conflict, Corrupt, Misused, Moved, NotFound, VersionConflict
from ..model.ids import check_session_id, new_session_id, redacted
from ..model.session import Record, State
from ..stores import open_store
from ..stores.contract import IdPage, Journal, Listing, Query, Store
from . import rules
from .locks import SessionLocks
from .requests import Requests
from .scan import Scan
from .session import Draft, Session, metadata_of

M = TypeVar("M")

Duration: TypeAlias = float | timedelta | None
Sessions: TypeAlias = list[Session[M]]

DEFAULT_TIMEOUT_S: Final = 3600.0
TRIES_MAX: Final = 60
_PAUSE_S_MAX: Final = 0.1
_SWEEP_PAGE: Final = 1000

_DEFAULT: Final[Any] = object()
_NO_TAGS: Final[frozenset[str]] = frozenset()
_replaced: Final = msgspec.structs.replace


class SessionManager(Generic[M]):
    """Sessions in one store. A manager belongs to the event loop it is used on; stores may be shared by many."""

    def __init__(
        self,
        store: Store,
        *,
        default_timeout: Duration = DEFAULT_TIMEOUT_S,
        metadata_type: type[M] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._default_timeout_s = rules.duration_s(default_timeout, "default_timeout")
        self._encode, self._decode = codec_for(metadata_type)
        self._locks = SessionLocks()
        self._requests = Requests(store, store, self._clock) if isinstance(store, Journal) else None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        default_timeout: Duration = DEFAULT_TIMEOUT_S,
        metadata_type: type[M] | None = None,
        clock: Clock | None = None,
    ) -> AsyncIterator[SessionManager[M]]:
        """Open the store at `url` (`memory://`, `sqlite:///path`), manage its sessions, and close it at the end.

        Raises:
            Misused: The address is not understood, or what is there is not a store this version can use.
            Unavailable: It cannot be opened now.
        """
        async with open_store(url) as store:
            yield cls(store, default_timeout=default_timeout, metadata_type=metadata_type, clock=clock)

    @property
    def requests(self) -> Requests:
        """The requests in flight of every session.

        Raises:
            Misused: The store keeps no journal.
        """
        if self._requests is None:
            raise Misused(f"{type(self._store).__name__} keeps no journal; use a store that implements Journal")
        return self._requests

    async def create(
        self,
        metadata: M | None = None,
        *,
        timeout: Duration = _DEFAULT,  # the life of the session
        max_age: Duration = None,
        owner: str | None = None,
        tags: Iterable[str] = _NO_TAGS,
        id: str | None = None,
        term: int = 0,
        durable: bool = True,
    ) -> Session[M]:
        """Create a session that is gone after `timeout` seconds without access, or after `max_age` seconds at all.

        None means never; without `timeout` the manager's default counts. Without `id` it gets 128 random bits.
        With `term` it has an owner from the beginning. With `durable` it outlives a power failure once this returns,
        else this process only.

        Raises:
            Conflict: The id is taken. Nothing was changed.
            Misused: An argument is not valid, or something in the metadata is not storable.
        """
        now = self._clock.now()
        record = Record(
            new_session_id() if id is None else check_session_id(id),
            1,
            term,
            now,
            now,
            self._default_timeout_s if timeout is _DEFAULT else rules.duration_s(timeout, "timeout"),
            None if max_age is None else rules.duration_s(max_age, "max_age"),
            None if owner is None else rules.checked_owner(owner),
            tags if tags is _NO_TAGS else rules.checked_tags(tags),
            "active",
            None,
            self._encode({} if metadata is None else metadata),
        )
        try:
            await self._store.put(record, expect=0, durable=durable)
        except VersionConflict as error:
            if not await self._make_room(record.id, now):
                raise Conflict(f"the id {redacted(record.id)} is taken; choose another") from error
            await self._store.put(record, expect=0, durable=durable)
        return Session(record, self._decode)

    async def get(self, session_id: str) -> Session[M]:
        """Return the session; this counts as an access.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
        """
        record = await self._store.get(session_id)
        now = self._clock.now()
        if record is None or rules.is_gone(record, now):
            raise _not_found(session_id)
        await self._store.touch(session_id, now, within_s=rules.touch_delay_s(record.timeout))
        return Session(rules.accessed(record, now), self._decode)

    async def peek(self, session_id: str) -> Session[M]:
        """Return the session, also a terminated one; this does not count as an access.

        Raises:
            NotFound: It was never there, or is deleted or expired.
        """
        record = await self._store.get(session_id)
        if record is None or rules.is_expired(record, self._clock.now()):
            raise _not_found(session_id)
        return Session(record, self._decode)

    async def touch(self, session_id: str) -> None:
        """Count an access.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
        """
        await self.get(session_id)

    async def record_use(self, session_id: str, at: float, *, timeout: float | None) -> None:
        """Tell of a use at `at`, seconds since the epoch, that the session's owner has seen and nobody else.

        Unlike `touch` it does not ask whether the record looks expired: an owner that serves a long call knows better.
        Nothing happens when the session is deleted. `timeout` is the session's own; it bounds how late it is written.
        """
        await self._store.touch(session_id, at, within_s=rules.touch_delay_s(timeout))

    async def update(
        self,
        session_id: str,
        fn: Callable[[Draft[M]], Draft[M] | Awaitable[Draft[M]]],
        *,
        term: int | None = None,
        durable: bool = True,
    ) -> Session[M]:
        """Change metadata, tags or timeout atomically; return the session as stored. This counts as an access.

        `fn`, sync or async, gets a private draft, changes it and returns it. It may run again after a conflict with
        another process. What it raises reaches the caller, and nothing is changed. Updates of one session by the
        tasks of one process run one after the other. With `term` the write is an owner's.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
            Moved: The stored term is higher than `term`. Nothing was written.
            Conflict: Others wrote in between every time it was tried. Nothing was written.
            Misused: `fn` returned something else, or set something that is not storable.
        """

        async def change(record: Record) -> Record:
            draft = Draft(record, self._decode)
            returned = fn(draft)
            if inspect.isawaitable(returned):
                returned = await returned
            if returned is not draft:
                raise Misused(f"fn returns the draft it was given, not {type(returned).__name__}; add `return draft`")
            return _replaced(
                record,
                metadata=metadata_of(draft, self._encode),
                tags=record.tags if draft.tags is record.tags else rules.checked_tags(draft.tags),
                timeout=rules.duration_s(draft.timeout, "timeout"),
            )

        return Session(await self._write(session_id, change, term, durable), self._decode)

    async def set_timeout(
        self,
        session_id: str,
        timeout: Duration,  # the life of the session
        *,
        durable: bool = True,
    ) -> Session[M]:
        """Set after how many seconds without access the session is gone; 0 at once, None never. Counts as an access.

        Raises:
            NotFound, Conflict, Misused: As `update`.
        """
        timeout_s = rules.duration_s(timeout, "timeout")

        async def change(record: Record) -> Record:
            return _replaced(record, timeout=timeout_s)

        return Session(await self._write(session_id, change, None, durable), self._decode)

    async def adopt(
        self, session_id: str, term: int, *, late_s: float = 0.0, owner: str | UnsetType | None = UNSET
    ) -> Session[M]:
        """Make `term` the session's term, so that every node with a lower one is refused; not an access.

        With `owner` only a session is adopted that belongs to that principal, or to none with None.

        With `late_s` a session idle for its timeout is adopted until that many seconds later, because the owner before
        may have seen accesses that it did not write; `max_age` and a timeout of 0 are exact. For everything else such
        a session stays expired until `record_use` tells of an access.
        It is written without fsync: the number itself was made durable when it was given out.

        Raises:
            NotFound: It was never there, belongs to somebody else, or is deleted, terminated or expired for `late_s`
                seconds. Nothing was written.
            Moved: The stored term is higher. Nothing was written.
        """

        async def change(record: Record) -> Record:
            if owner is not UNSET and record.owner != owner:
                raise _not_found(session_id)
            return _replaced(record, term=term)

        return Session(await self._write(session_id, change, term, False, late_s), self._decode)

    async def terminate(self, session_id: str, reason: str | None = None, *, term: int | None = None) -> Session[M]:
        """End the session for good, durably; `peek` shows it and the reason until its timeout is over.

        Its timeout becomes a day at most, so that nothing ended stays for ever. Ending it again changes nothing.

        Raises:
            NotFound: It was never there, or is deleted or expired.
            Moved: The stored term is higher than `term`. Nothing was written.
        """
        checked_reason = rules.checked_reason(reason)

        async def change(record: Record) -> Record:
            timeout_s = rules.TOMBSTONE_S_MAX if record.timeout is None else min(record.timeout, rules.TOMBSTONE_S_MAX)
            return _replaced(record, state="terminated", reason=checked_reason, timeout=timeout_s)

        try:
            return Session(await self._write(session_id, change, term, True), self._decode)
        except NotFound:
            return await self.peek(session_id)

    async def delete(self, session_id: str, *, durable: bool = True, term: int | None = None) -> bool:
        """Delete the session and all that belongs to it; return whether it was there (an expired one was not).

        A damaged one is deleted too: nothing else can be done with it here.

        Raises:
            Moved: The stored term is higher than `term`. Nothing was deleted.
            Conflict: With `term`, others kept on writing it. Nothing was deleted.
        """
        for _ in range(TRIES_MAX):
            try:
                record = await self._store.get(session_id)
            except Corrupt:
                return await self._store.delete(session_id, durable=durable)
            if record is None:
                return False
            if term is not None and record.term > term:
                raise _moved(record, term)
            was_there = not rules.is_expired(record, self._clock.now())
            expect = None if term is None else record.version
            if await self._store.delete(session_id, expect=expect, durable=durable):
                return was_there
            if term is None:
                return False
        raise Conflict(f"session {redacted(session_id)} was written by others {TRIES_MAX} times; try again later")

    async def ids(self, *, late_s: float = 0.0) -> AsyncIterator[str]:
        """Yield the id of every active session, damaged ones too where the store can list ids; else as `scan`.

        Expired ones are left out as of the moment at which their page, of 1,000 at most, was read; with `late_s` only
        those that have been so for as many seconds, where the store can list ids (`adopt` says why).
        """
        if not isinstance(self._store, Listing):
            async for record in Scan(self._store, Query(state="active"), self._clock, _itself):
                yield record.id
            return
        page = IdPage([], None)
        begun = False
        while not begun or page.cursor is not None:
            begun = True
            page = await self._store.list_ids(self._clock.now() - late_s, cursor=page.cursor)
            for session_id in page.ids:
                yield session_id

    async def list(self, where: Callable[[Session[M]], bool] | None = None) -> Sessions[M]:
        """Return every active session for which `where` is true. All are held in memory: `scan` when they are many."""
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
        A session whose record is damaged is left out, and logged.
        """
        query = Query(prefix=prefix, owner=owner, tag=tag, state=state)
        return Scan(self._store, query, self._clock, lambda record: Session(record, self._decode), cursor)

    async def cleanup_expired(self) -> int:
        """Delete every session that is expired now; return how many. The cost follows their number."""
        now = self._clock.now()
        count = 0
        while gone := await self._store.expire(now, limit=_SWEEP_PAGE):
            count += len(gone)
        return count

    async def expire_due(
        self, limit: int = _SWEEP_PAGE, *, now: float | None = None, late_s: float = 0.0
    ) -> Sessions[M]:
        """Delete up to `limit` expired sessions and return them; of racing callers and processes one gets each.

        Expired means at `now`, seconds since the epoch, at least `late_s` seconds ago. A caller that has told its uses
        up to a moment passes that moment, so that nothing it uses expires in between. It passes as `late_s` how late
        others write theirs, so that none of these shortens a life. What has expired less than `late_s` ago stays
        stored, and is `NotFound` all the same.

        Raises:
            Misused: `limit` is less than 1, or `late_s` less than 0.
        """
        if limit < 1 or not late_s >= 0:
            raise Misused(f"expire_due(limit={limit}, late_s={late_s}): limit is 1 or more, late_s 0 or more")
        moment = self._clock.now() if now is None else now
        gone = await self._store.expire(moment - late_s, limit=limit)
        return [Session(record, self._decode) for record in gone]

    async def _write(
        self,
        session_id: str,
        change: Callable[[Record], Awaitable[Record]],
        term: int | None,
        durable: bool,
        adopting_late_s: float | None = None,
    ) -> Record:
        """Write what `change` makes of the record; an access, unless it is an owner adopting it, so many seconds late.

        Raises:
            NotFound, Moved, Conflict: As `update`. Nothing was written.
        """
        accesses, late_s = adopting_late_s is None, adopting_late_s or 0.0
        await self._locks.acquire(session_id)
        try:
            for attempt in range(TRIES_MAX):
                record = await self._store.get(session_id)
                if record is None or rules.is_gone(record, self._clock.now(), late_s):
                    raise _not_found(session_id)
                if term is not None and record.term > term:
                    raise _moved(record, term)
                changed = await change(record)
                now = self._clock.now()
                if rules.is_gone(record, now, late_s):
                    # It ended while `fn` ran, unless it was accessed meanwhile: the next look decides.
                    continue
                changed = rules.next_version(changed, now if accesses else record.last_accessed)
                try:
                    await self._store.put(changed, expect=record.version, durable=durable)
                except VersionConflict:
                    await asyncio.sleep(random.uniform(0, min(_PAUSE_S_MAX, 0.001 * 2**attempt)))
                else:
                    return changed
            raise Conflict(f"session {redacted(session_id)} was written by others {TRIES_MAX} times; try again later")
        finally:
            self._locks.release(session_id)

    async def _make_room(self, session_id: str, now: float) -> bool:
        """Delete the session under a wanted id if it is expired; return whether the id is free now."""
        record = await self._store.get(session_id)
        if record is None:
            return True
        return rules.is_expired(record, now) and await self._store.delete(session_id, expect=record.version)


def _itself(record: Record) -> Record:
    return record


def _moved(record: Record, term: int) -> Moved:
    return Moved(f"session {redacted(record.id)} has term {record.term}, yours is {term}; stop serving it")


def _not_found(session_id: str) -> NotFound:
    shown = redacted(session_id) if isinstance(session_id, str) else type(session_id).__name__
    return NotFound(f"session {shown} is not there: it never was, or it is deleted, terminated or expired")
