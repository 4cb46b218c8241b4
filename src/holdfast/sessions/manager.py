"""Creates, reads, changes and ends sessions; the only writer of session records."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, Self, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ..codec import BYTES_MAX
from ..codec.models import codec_for
from ..model.clock import Clock, SystemClock, stopwatch_ns
from ..model.errors import Conflict, Corrupt, Misused, NotFound
from ..model.ids import check_session_id, new_session_id, redacted
from ..model.session import Record, State
from ..runtime import Periodic, shielded
from ..stores import open_store
from ..stores.contract import Described, IdPage, Journal, Listing, Query, Store, StoreInfo
from . import rules
from .acts import CHANGE_S, SWEEP_PAGE, TRIES_MAX, Change, moved, not_found
from .events import (
    SessionCreated,
    SessionDeleted,
    SessionExpired,
    SessionOwnerChanged,
    SessionStateChanged,
    SessionUpdated,
)
from .groups import Group
from .metrics import SAMPLED, Metrics
from .requests import Requests
from .room import Capacity
from .rules import Duration
from .scan import Scan
from .session import Changes, Home, Session
from .snapshots import Restoring
from .subscriptions import WAITING_MAX, Handler, Subscription

M = TypeVar("M")

Sessions: TypeAlias = list[Session[M]]

DEFAULT_TIMEOUT_S: Final = 3600.0
CLOSE_S: Final = 4.0
SWEEP_S: Final = 0.5
_IDS_PAGE: Final = 5000
_LOCALS_LOOKED_AT: Final = 100

_DEFAULT: Final[Any] = object()
_NO_TAGS: Final[frozenset[str]] = frozenset()
_replaced: Final = msgspec.structs.replace


class SessionManager(Restoring[M]):
    """Sessions in one store. A manager belongs to the event loop it is used on; stores may be shared by many.

    Get one by `open`, or around a store of yours by `async with SessionManager(store) as sessions`: inside, what
    expires is deleted, and subscribers told, within a second. One that is made and not entered sweeps when it is told.

        >>> import asyncio
        >>> async def main():
        ...     async with SessionManager.open("memory://") as sessions:
        ...         session = await sessions.create({"items": ["tea"]}, timeout=60)
        ...         return (await sessions.get(session.id)).metadata
        >>> asyncio.run(main())
        {'items': ['tea']}
    """

    def __init__(
        self,
        store: Store,
        *,
        default_timeout: Duration = DEFAULT_TIMEOUT_S,
        metadata_type: type[M] | None = None,
        metadata_bytes_max: int = BYTES_MAX,
        capacity: Capacity | None = None,
        clock: Clock | None = None,
    ) -> None:
        home = Home[M](metadata_type, *codec_for(metadata_type, metadata_bytes_max))
        default_timeout_s = rules.duration_s(default_timeout, "default_timeout")
        super().__init__(store, home, clock or SystemClock(), default_timeout_s, capacity)
        self._sweeper = Periodic("delete expired sessions", self._chores, interval_s=SWEEP_S)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        default_timeout: Duration = DEFAULT_TIMEOUT_S,
        metadata_type: type[M] | None = None,
        metadata_bytes_max: int = BYTES_MAX,
        capacity: Capacity | None = None,
        clock: Clock | None = None,
    ) -> AsyncIterator[SessionManager[M]]:
        """Open the store at `url` (`memory://`, `sqlite:///path`), manage its sessions, and close it at the end.

        Raises:
            Misused: The address is not understood, or what is there is not a store this version can use.
            Unavailable: It cannot be opened now.
        """
        async with (
            open_store(url) as store,
            cls(
                store,
                default_timeout=default_timeout,
                metadata_type=metadata_type,
                metadata_bytes_max=metadata_bytes_max,
                capacity=capacity,
                clock=clock,
            ) as manager,
        ):
            yield manager

    async def __aenter__(self) -> Self:
        if isinstance(self._store, Described) and not (await self._store.info()).shared:
            self._late_s = 0.0
        self._sweeper.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await shielded(self.close(), within_s=CLOSE_S + 1, name="close a session manager")

    async def close(self, *, within_s: float = CLOSE_S) -> None:
        """Sweep no more and let subscribers have what they were not told yet; the store stays open.

        A subscriber that takes longer than `within_s` seconds is left without the rest, which is logged.
        """
        await self._sweeper.stop()
        await self._subscriptions.close(within_s=within_s)

    @property
    def requests(self) -> Requests:
        """The requests in flight of every session.

        Raises:
            Misused: The store keeps no journal.
        """
        if not isinstance(self._store, Journal):
            raise Misused(f"{type(self._store).__name__} keeps no journal; use a store that implements Journal")
        return self._requests

    # -- one session

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
        With `term` it has an owner from the beginning. With `durable` it outlives a power failure once this returns, if
        the store does; without, it is kept in this process's memory alone, never written, and gone with the manager.

        Raises:
            Conflict: The id is taken. Nothing was changed.
            Misused: An argument is not valid, or something in the metadata is not storable.
            Refused: There are as many sessions as the manager's capacity lets there be.
        """
        began = 0 if self._meter.created & SAMPLED else stopwatch_ns()
        now = self._now()
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
            self._home.encode(self._home.empty() if metadata is None else metadata),
        )
        await self._put(record, durable=durable)
        self._meter.created += 1
        session = self._written(record, now, SessionCreated)
        if began:
            self._meter.took("create", began)
        return session

    async def adopt(
        self,
        session: Session[M],
        *,
        timeout: Duration = _DEFAULT,  # the life of the session
        max_age: Duration = None,
        durable: bool = True,
    ) -> Session[M]:
        """Create what was made as a `Session` alone, with its id, owner, tags, metadata and live objects.

        Raises:
            Conflict, Misused, Refused: As `create`. Also `Misused` when it has been stored already.
        """
        if session.version:
            raise Misused(f"session {redacted(session.id)} is stored already, at version {session.version}")
        created = await self.create(
            session.metadata,
            timeout=timeout,
            max_age=max_age,
            owner=session.owner,
            tags=session.tags,
            id=session.id,
            durable=durable,
        )
        if session.local:
            created.local.update(session.local)
        return created

    async def get(self, session_id: str) -> Session[M]:
        """Return the session; this counts as an access.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
            Corrupt: What is stored is damaged; likewise of every act that reads it.
        """
        began = 0 if self._meter.got & SAMPLED else stopwatch_ns()
        now = self._now()
        record = None if self._resident is None else self._resident.use_now(session_id, now)
        if record is None:
            record = await self._use(session_id, now)
        elif self._room is not None:
            self._room.used(session_id)
        self._meter.got += 1
        if began:
            self._meter.took("get", began)
        return Session(record, self._home, now)

    async def touch(self, session_id: str) -> None:
        """Count an access.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
        """
        began = 0 if self._meter.touched & SAMPLED else stopwatch_ns()
        now = self._now()
        if self._resident is None or self._resident.use_now(session_id, now) is None:
            await self._use(session_id, now)
        elif self._room is not None:
            self._room.used(session_id)
        self._meter.touched += 1
        if began:
            self._meter.took("touch", began)

    async def peek(self, session_id: str) -> Session[M]:
        """Return the session, also a terminated one; this does not count as an access.

        Raises:
            NotFound: It was never there, or is deleted or expired.
        """
        record = await self._store.get(session_id) if isinstance(session_id, str) else None
        if record is None or rules.is_expired(record, self._now()):
            raise not_found(session_id)
        return Session(record, self._home)

    async def record_use(self, session_id: str, at: float, *, timeout: float | None) -> None:
        """Tell of a use at `at`, seconds since the epoch, that the session's owner has seen and nobody else.

        Unlike `touch` it does not ask whether the record looks expired: an owner that serves a long call knows better.
        Nothing happens when the session is deleted. `timeout` is the session's own; it bounds how late it is written.
        """
        await self._store.touch(session_id, at, within_s=rules.touch_delay_s(timeout))

    async def update(
        self,
        session_id: str,
        fn: Change[M],
        *,
        within_s: float = CHANGE_S,
        term: int | None = None,
        sync: bool = True,
    ) -> Session[M]:
        """Change metadata, tags or timeout atomically; return the session as stored. This counts as an access.

        `fn`, sync or async, gets a private draft, changes it and returns it. It may run again after a conflict with
        another process. What it raises reaches the caller, and nothing is changed. Updates of one session by the
        tasks of one process run one after the other, so one that waits has `within_s` seconds. With `sync` the change
        outlives a power failure once this returns, else this process only. With `term` the write is an owner's.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
            Moved: The stored term is higher than `term`. Nothing was written.
            Conflict: Others wrote in between every time it was tried. Nothing was written.
            Misused: `fn` returned something else, or set something that is not storable.
            Refused: `fn` took longer than `within_s`. Nothing was written.
        """
        began = 0 if self._meter.updated & SAMPLED else stopwatch_ns()
        session: Session[M] | None = None
        begun: list[Awaitable[Changes]] = []
        if self._resident is not None and term is None:
            session = self._update_now(self._resident, session_id, fn, begun)
        if session is None:
            change = partial(self._changes, fn, begun)
            session = await self._write(session_id, change, SessionUpdated, term=term, sync=sync, within_s=within_s)
        else:
            self._meter.updated += 1
        if began:
            self._meter.took("update", began)
        return session

    async def set_timeout(
        self,
        session_id: str,
        timeout: Duration,  # the life of the session
        *,
        sync: bool = True,
    ) -> Session[M]:
        """Set after how many seconds without access the session is gone; 0 at once, None never. Counts as an access.

        Raises:
            NotFound, Conflict, Misused: As `update`.
        """
        timeout_s = rules.duration_s(timeout, "timeout")
        return await self._write(session_id, lambda _: {"timeout": timeout_s}, SessionUpdated, sync=sync)

    async def tag(self, session_id: str, *tags: str) -> Session[M]:
        """Add tags to a session. Counts as an access.

        Raises:
            NotFound, Conflict: As `update`.
            Misused: A tag is not valid, or there would be more than 64.
        """
        added = rules.checked_tags(tags)
        return await self._write(
            session_id, lambda record: {"tags": rules.checked_tags(record.tags | added)}, SessionUpdated
        )

    async def untag(self, session_id: str, *tags: str) -> Session[M]:
        """Take tags from a session; those it does not have are passed over. Counts as an access.

        Raises:
            NotFound, Conflict: As `update`.
        """
        removed = frozenset(tags)
        return await self._write(session_id, lambda record: {"tags": record.tags - removed}, SessionUpdated)

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
        """

        def change(record: Record) -> Changes:
            if owner is not UNSET and record.owner != owner:
                raise not_found(session_id)
            return {"term": term}

        return await self._write(session_id, change, SessionOwnerChanged, term=term, sync=False, late_s=late_s)

    async def terminate(self, session_id: str, reason: str | None = None, *, term: int | None = None) -> Session[M]:
        """End the session for good, durably; `peek` shows it and the reason until its timeout is over.

        Its timeout becomes a day at most, so that nothing ended stays for ever. Ending it again changes nothing.

        Raises:
            NotFound: It was never there, or is deleted or expired.
            Moved: The stored term is higher than `term`. Nothing was written.
            Conflict, Misused: As `update`; the reason has 1 to 1,024 bytes.
        """
        change = partial(rules.ended, reason=rules.checked_reason(reason))
        try:
            return await self._write(session_id, change, SessionStateChanged, term=term)
        except NotFound:
            return await self.peek(session_id)

    async def delete(self, session_id: str, *, sync: bool = True, term: int | None = None) -> bool:
        """Delete the session and all that belongs to it; return whether it was there (an expired one was not).

        A damaged one is deleted too, without an event: nothing else can be done with it here.

        Raises:
            Moved: The stored term is higher than `term`. Nothing was deleted.
            Conflict: With `term`, others kept on writing it. Nothing was deleted.
        """
        began = 0 if self._meter.deleted & SAMPLED else stopwatch_ns()
        for left in reversed(range(TRIES_MAX)):
            try:
                record = await self._store.get(session_id) if isinstance(session_id, str) else None
            except Corrupt:
                return await self._store.delete(session_id, durable=sync)
            if record is None:
                return False
            if term is not None and record.term > term:
                raise moved(record, term)
            was_there = not rules.is_expired(record, self._now())
            # A delete among many writes must come to an end; then its event may tell of an earlier version.
            expect = record if left or term is not None else None
            if await self._store.delete(session_id, expect=expect, durable=sync):
                if was_there:
                    self._meter.deleted += 1
                else:
                    self._meter.expired += 1
                self._removed(record, SessionDeleted if was_there else SessionExpired)
                if began:
                    self._meter.took("delete", began)
                return was_there
        if term is None:
            return False
        raise Conflict(f"session {redacted(session_id)} was written by others {TRIES_MAX} times; try again later")

    # -- many sessions

    async def ids(self, *, late_s: float = 0.0) -> list[str]:
        """Return the id of every active session, damaged ones too where the store can list ids; else as `scan`.

        Expired ones are left out as of the moment at which their page, of 5,000 at most, was read; with `late_s` only
        those that have been so for as many seconds, where the store can list ids (`take_over` says why). All are held
        in memory, 90 bytes each or so: `scan` when that is too much.
        """
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
            Misused: `where` is async, so that whatever it returned would be true.
        """
        if inspect.iscoroutinefunction(where):
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
        of this store.
        """
        query = Query(prefix=prefix, owner=owner, tag=tag, state=state)
        return Scan(self._store, query, self._clock, lambda record: Session(record, self._home), cursor)

    def group(self, tag: str) -> Group[M]:
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
            Misused: `late_s` is less than 0.
        """
        if late_s is not None and not late_s >= 0:
            raise Misused(f"cleanup_expired(late_s={late_s}): it is 0 or more")
        return await self._sweep(late_s)

    async def expire_due(
        self, limit: int = SWEEP_PAGE, *, now: float | None = None, late_s: float = 0.0
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
        gone = await self._expire((self._now() if now is None else now) - late_s, limit)
        return [Session(record, self._home) for record in gone]

    # -- how it goes

    def subscribe(self, handler: Handler, *kinds: type, waiting_max: int = WAITING_MAX) -> Subscription:
        """Have `handler`, sync or async, told of what this manager does from now on: events of `kinds`, or all.

        It is called on the event loop, after the act, with one event at a time; those of one session come in order,
        each once at most. A sync one must not block. It can neither fail nor stall an act: what it raises is logged,
        and of the events that find `waiting_max` others waiting it is told the number only (`EventsMissed`). What
        other processes do to a store they share is not told here.

        Raises:
            Misused: A kind is no event, or `waiting_max` is less than 1.
        """
        return self._subscriptions.add(handler, kinds, waiting_max)

    async def metrics(self) -> Metrics:
        """Return what was counted so far. With SQLite, counting what is stored takes a while, off the loop.

        Raises:
            Misused: The store does not count what it keeps.
        """
        by_state = await self._described().count(self._now())
        return self._meter.read(by_state, sum(each.missed for each in self._subscriptions.all))

    async def store_info(self) -> StoreInfo:
        """Return what the store is and how it stands.

        Raises:
            Misused: It does not say.
        """
        return await self._described().info()

    # -- helpers, in order of use

    def _described(self) -> Described:
        if not isinstance(self._store, Described):
            raise Misused(f"{type(self._store).__name__} does not say what it keeps; implement Described")
        return self._store

    async def _chores(self) -> None:
        """Use what has requests in flight, delete what is expired, let go of live objects of what others deleted."""
        try:
            await self._requests.use_sessions(self._use)
        finally:  # whatever is wrong with one of those, nothing else must live on for it
            await self._sweep()
        for session_id in list(islice(self._home.locals, _LOCALS_LOOKED_AT)):
            if await self._store.get(session_id) is None:
                self._home.locals.pop(session_id, None)
            elif session_id in self._home.locals:
                self._home.locals[session_id] = self._home.locals.pop(session_id)  # to the end: others are next
