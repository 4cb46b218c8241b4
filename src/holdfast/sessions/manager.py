"""Creates, reads, changes and ends sessions; the only writer of session records.

Here is what acts on one session. What acts on many is in `many`, what a server does with those it owns in `owning`;
`feed` follows changes, `recovery` goes back to a moment, `figures` counts and tells. What all come down to is `acts`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, Self, TypeVar

from ..codec import BYTES_MAX, PLAIN, Codec
from ..codec.models import codec_for
from ..model.clock import Clock, SystemClock, stopwatch_ns
from ..model.errors import Conflict, Corrupt, Misused, NotFound
from ..model.ids import check_session_id, new_session_id, redacted
from ..model.session import Record
from ..runtime import Periodic, shielded
from ..stores import open_store
from ..stores.contract import Described, Journal, Store
from . import rules
from .acts import CHANGE_S, TRIES_MAX, Change, ChangesLater, Kind, moved, not_found
from .events import SessionDeleted, SessionExpired, SessionStateChanged, SessionUpdated
from .figures import Figures
from .many import Many
from .metrics import SAMPLED
from .owning import Owning
from .recovery import Recovery
from .requests import Requests
from .retention import Retention
from .room import Capacity
from .rules import Duration
from .session import Draft, Home, Session

M = TypeVar("M")

DEFAULT_TIMEOUT_S: Final = 3600.0
CLOSE_S: Final = 4.0
SWEEP_S: Final = 0.5
TRIM_LOOK_S: Final = 1.0
TRIM_FEED_S: Final = 60.0
_LOCALS_LOOKED_AT: Final = 100

_DEFAULT: Final[Any] = object()
_NO_TAGS: Final[frozenset[str]] = frozenset()
_NO_TERM: Final = 0
_RETENTION: Final = Retention()


class SessionManager(Many[M], Owning[M], Recovery[M], Figures[M]):
    """Sessions in one store. A manager belongs to the event loop it is used on; stores may be shared by many.

    Get one by `open`, or around a store of yours by `async with SessionManager(store) as sessions`: inside, what
    expires is deleted, and subscribers told, within a second. One that is made and not entered sweeps when it is told.
    `capacity` is how many sessions there may be, None any number. `retention` is how much the store's journal, if
    requests are registered here, and its feed keep; None in it leaves that to somebody else: of all who use a store,
    one should see to it.

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
        retention: Retention = _RETENTION,
    ) -> None:
        home = Home[M](metadata_type, *codec_for(metadata_type, metadata_bytes_max))
        default_timeout_s = rules.duration_s(default_timeout, "default_timeout")
        if capacity is not None and not isinstance(capacity, Capacity):
            raise Misused(f"capacity is a Capacity, not {type(capacity).__name__}; pass Capacity(sessions=...)")
        if not isinstance(retention, Retention):
            raise Misused(f"retention is a Retention, not {type(retention).__name__}; pass Retention(feed=...)")
        super().__init__(store, home, clock or SystemClock(), default_timeout_s, capacity, retention)
        self._sweeper = Periodic("delete expired sessions", self._chores, interval_s=SWEEP_S)
        self._trimmer = Periodic("trim the journal", self._requests.trim, interval_s=TRIM_LOOK_S)
        self._feed_trimmer = Periodic("trim the feed", self.trim_feed, interval_s=TRIM_FEED_S)

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
        retention: Retention = _RETENTION,
        codec: Codec = PLAIN,
    ) -> AsyncIterator[SessionManager[M]]:
        """Open the store at `url` (`memory://`, `sqlite:///path`, …), manage its sessions, and close it at the end.

        What is kept on a disk is encrypted and compressed as `codec` says.

        Raises:
            Misused: An argument makes no sense, an extra is missing, or what is there is no store this version can use.
            Unavailable: It cannot be opened now.
            Corrupt: It is damaged.
        """
        async with (
            open_store(url, codec=codec, clock=clock) as store,
            cls(
                store,
                default_timeout=default_timeout,
                metadata_type=metadata_type,
                metadata_bytes_max=metadata_bytes_max,
                capacity=capacity,
                clock=clock,
                retention=retention,
            ) as manager,
        ):
            yield manager

    async def __aenter__(self) -> Self:
        if isinstance(self._store, Described) and not (await self._store.info()).shared:
            self._late_s = 0.0
        self._sweeper.start()
        self._trimmer.start()
        self._feed_trimmer.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await shielded(self.close(), within_s=CLOSE_S + 1, name="close a session manager")

    async def close(self, *, within_s: float = CLOSE_S) -> None:
        """Sweep no more and let subscribers have what they were not told yet; the store stays open.

        A subscriber that takes longer than `within_s` seconds is cancelled and left without the rest, which is logged.
        Called by a subscriber, this does not wait for that one. Live objects stay with who holds them.

        Raises:
            Misused: `within_s` is no number of seconds, 0 or more.
        """
        within_s = rules.wait_s(within_s, "within_s")
        await self._sweeper.stop()
        await self._trimmer.stop()
        await self._feed_trimmer.stop()
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

    async def create(
        self,
        metadata: M | None = None,
        *,
        timeout: Duration = _DEFAULT,  # the life of the session
        max_age: Duration = None,
        owner: str | None = None,
        tags: Iterable[str] = _NO_TAGS,
        id: str | None = None,
        term: int = _NO_TERM,
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
            term if term is _NO_TERM else rules.checked_term(term),
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
        session = await self._created(record, durable=durable)
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
        """Create what `Session.new` made, with its id, owner, tags, metadata and live objects.

        Without `timeout` it has the one that was set, if any was, or the manager's default.

        Raises:
            Conflict, Misused, Refused: As `create`. Also `Misused` when it has been stored already.
        """
        if not isinstance(session, Session):
            raise Misused(f"adopt takes a Session, not {type(session).__name__}; make one by Session.new")
        if not isinstance(session, Draft) or session.version:
            raise Misused(f"session {redacted(session.id)} is stored already, at version {session.version}")
        created = await self.create(
            session.metadata if session.has_metadata else None,
            timeout=session.timeout if timeout is _DEFAULT and session.has_timeout else timeout,
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
            KeyMissing: It is sealed under a key that is not in the key ring; likewise.
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
        if term is not None:
            rules.checked_term(term)
        if within_s is not CHANGE_S:
            within_s = rules.wait_s(within_s, "within_s")
        session: Session[M] | None = None
        begun: list[ChangesLater[M]] = []
        if self._resident is not None and term is None:
            session = self._update_now(self._resident, session_id, fn, begun)
        if session is None:
            change = partial(self._changes, fn, begun)
            try:
                session = await self._write(session_id, change, SessionUpdated, term=term, sync=sync, within_s=within_s)
            finally:
                for changes in begun:  # the session was gone before it was its turn
                    changes.leave()
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
            Misused: A tag is not valid.
        """
        removed = rules.tag_set(tags)
        return await self._write(session_id, lambda record: {"tags": record.tags - removed}, SessionUpdated)

    async def terminate(self, session_id: str, reason: str | None = None, *, term: int | None = None) -> Session[M]:
        """End the session for good, durably; `peek` shows it and the reason until its timeout is over.

        Its timeout becomes a day at most, so that nothing ended stays for ever. Ending it again changes nothing.

        Raises:
            NotFound: It was never there, or is deleted or expired.
            Moved: The stored term is higher than `term`. Nothing was written.
            Conflict, Misused: As `update`; the reason has 1 to 1,024 bytes.
        """
        change = partial(rules.ended, reason=rules.checked_reason(reason))
        if term is not None:
            rules.checked_term(term)
        ended = await self._ended(session_id)
        if ended is None:
            try:
                return await self._write(session_id, change, SessionStateChanged, term=term)
            except NotFound:
                ended = await self._ended(session_id)  # somebody else was first
                if ended is None:
                    raise
        return ended

    async def delete(self, session_id: str, *, sync: bool = True, term: int | None = None) -> bool:
        """Delete the session and all that belongs to it; return whether it was there (an expired one was not).

        A damaged one is deleted too, without an event: nothing else can be done with it here.

        Raises:
            Moved: The stored term is higher than `term`. Nothing was deleted.
            Conflict: With `term`, others kept on writing it. Nothing was deleted.
        """
        if term is not None:
            rules.checked_term(term)
        began = 0 if self._meter.deleted & SAMPLED else stopwatch_ns()
        for left in reversed(range(TRIES_MAX)):
            try:
                record = await self._store.get(session_id) if isinstance(session_id, str) else None
            except Corrupt:
                deleted = await self._store.delete(session_id, durable=sync)
                if deleted and self._room is not None:
                    self._room.gone(session_id)
                return deleted
            if record is None:
                return False
            if term is not None and record.term > term:
                raise moved(record, term)
            was_there = not rules.is_expired(record, self._now())
            kind: Kind[M] = SessionDeleted if was_there else SessionExpired
            # A delete among many writes must come to an end; then its event may tell of an earlier version.
            whatever = not left and term is None
            if await self._whole(self._delete(record, kind, sync=sync, whatever=whatever)):
                if began:
                    self._meter.took("delete", began)
                return was_there
        if term is None:
            return False
        raise Conflict(f"session {redacted(session_id)} was written by others {TRIES_MAX} times; try again later")

    async def _ended(self, session_id: str) -> Session[M] | None:
        record = await self._store.get(session_id) if isinstance(session_id, str) else None
        ended = record is not None and record.state == "terminated" and not rules.is_expired(record, self._now())
        return Session(record, self._home) if record is not None and ended else None

    async def _chores(self) -> None:
        """Use what has requests in flight, delete what is expired, let go of live objects of what others deleted."""
        try:
            await self._requests.use_sessions(self._use)
        finally:  # whatever is wrong with one of those, nothing else must live on for it
            await self._sweep()
        for key in list(islice(self._home.locals, _LOCALS_LOOKED_AT)):
            session_id, created_at = key
            try:
                record = await self._store.get(session_id)
                is_there = record is not None and record.created_at == created_at
            except Corrupt:
                is_there = True  # somebody may repair it
            local = self._home.locals.pop(key, None)
            if is_there and local is not None:
                self._home.locals[key] = local  # at the end: others are next
