"""Following what happens to sessions, whichever process does it, by a cursor that outlives the follower."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from ..model.errors import Misused
from ..stores.contract import Change, ChangeKind, Changes, Feed
from . import rules
from .acts import Acts
from .events import (
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionOwnerChanged,
    SessionStateChanged,
    SessionUpdated,
)
from .session import Home, Session
from .subscriptions import WAITING_MAX, Handler, Subscription

M = TypeVar("M")

_PAGE: Final = 200
_LOOK_S: Final = 0.2  # how late it is seen what another process did

_KINDS: Final[dict[ChangeKind, type[SessionEvent[Any]]]] = {
    ChangeKind.CREATED: SessionCreated,
    ChangeKind.UPDATED: SessionUpdated,
    ChangeKind.STATE_CHANGED: SessionStateChanged,
    ChangeKind.OWNER_CHANGED: SessionOwnerChanged,
    ChangeKind.DELETED: SessionDeleted,
    ChangeKind.EXPIRED: SessionExpired,
}


class Follower(Generic[M]):
    """An async iterator over events, of `SessionManager.follow`.

    Every change of every stored session comes once, in order, as an event. `cursor` continues behind the event that
    came last, also in another process: who stores it together with what the event brought about has each exactly once.
    """

    def __init__(
        self,
        feed: Feed,
        home: Home[M],
        subscribe: Callable[[Handler], Subscription],
        cursor: str | None,
        wait: bool,
    ) -> None:
        self._feed = feed
        self._home = home
        self._subscribe = subscribe
        self._cursor = cursor
        self._wait = wait
        self._page: Changes | None = None
        self._at = 0

    @property
    def cursor(self) -> str | None:
        """Where a later follower continues; None: at the oldest change that is kept."""
        return self._cursor

    def __aiter__(self) -> Follower[M]:
        return self

    async def __anext__(self) -> SessionEvent[M]:
        while True:
            page = self._page
            if page is not None and self._at < len(page.changes):
                change = page.changes[self._at]
                self._at += 1
                self._cursor = change.cursor
                return self._event(change)
            if page is not None:
                self._cursor = page.cursor
                if page.is_end:
                    if not self._wait:
                        raise StopAsyncIteration
                    await self._something_may_have_happened()
            self._page = None
            self._page = await self._feed.changes(after=self._cursor, limit=_PAGE)
            self._at = 0

    async def _something_may_have_happened(self) -> None:
        """Return when this process has written, or after a moment in which another one may have."""
        written = asyncio.Event()
        subscription = self._subscribe(lambda _: written.set())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(written.wait(), _LOOK_S)
        finally:
            await subscription.close()

    def _event(self, change: Change) -> SessionEvent[M]:
        kind = _KINDS[change.kind]
        if kind is SessionDeleted and rules.is_expired(change.record, change.at):
            kind = SessionExpired  # whoever deleted it came a little before the sweep
        return kind(Session(change.record, self._home), change.at)


class Following(Acts[M]):
    """Follows what is written, and lets go of what is too old to be followed."""

    def follow(self, cursor: str | None = None, *, wait: bool = True) -> Follower[M]:
        """Return an async iterator over what happens to sessions, by whichever process, as events.

        It begins behind `cursor`, else with the oldest change that is kept, and waits when there is no more; without
        `wait` it ends then. What other processes do comes within about 0.2 s. Accesses are no events, nor is anything
        about a session that is never written (`create(durable=False)`); one that was evicted is a `SessionDeleted`.

        Iterating raises `CursorExpired` when not all behind the cursor is kept any more: take `feed_position()`, read
        everything, and follow from that position; an event of a (`id`, `created_at`, `version`) that was read is known.
        So it does after a restore, with which a new feed begins. It raises `Misused` when the cursor is none, or when a
        newer version wrote what comes next, and `KeyMissing` when that is sealed under a key that is not in the ring:
        nothing is passed over.

        Raises:
            Misused: The store keeps no feed.
        """
        return Follower(self._feed(), self._home, self._told, cursor, wait)

    async def feed_position(self) -> str:
        """Return the cursor behind everything that was written so far.

        Raises:
            Misused: The store keeps no feed.
        """
        return await self._feed().position()

    async def trim_feed(self) -> int:
        """Let the feed keep no more than the manager's `Retention` says; return how many changes went.

        A manager that is entered does so every minute. With None it leaves that to others.
        """
        bounds = self._retention.feed
        if bounds is None or not isinstance(self._store, Feed):
            return 0
        return await self._store.trim_changes(bounds, self._now())

    def _told(self, handler: Handler) -> Subscription:
        return self._subscriptions.add(handler, (), WAITING_MAX)

    def _feed(self) -> Feed:
        if not isinstance(self._store, Feed):
            raise Misused(f"{type(self._store).__name__} keeps no feed; use sqlite, leveldb or rocksdb")
        return self._store
