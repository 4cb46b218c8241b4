"""Bringing sessions back to what they were at a moment that the store's feed still knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final, TypeVar

import msgspec

from ..model.errors import Conflict, Corrupt, Misused, Refused
from ..model.session import Record
from ..stores.contract import Feed, Query
from . import rules
from .acts import TRIES_MAX
from .events import SessionDeleted
from .feed import Following
from .snapshots import Outcome, Restoring

M = TypeVar("M")

_PAGE: Final = 200
_AT_ONCE: Final = 32  # less than 5 ms of the loop
_ENDED_MAX: Final = 1_000_000
_COUNTED: Final[dict[Outcome, str]] = {"changed": "changed", "created": "created", "same": ""}
_replaced: Final = msgspec.structs.replace


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """How far a restore has come.

    Of the sessions that were written or deleted since the moment, `changed` were given back what they held, `created`
    were made again, and `left` are as they were before it. `deleted` are sessions that did not exist at the moment.
    """

    changed: int = 0
    created: int = 0
    deleted: int = 0
    left: int = 0

    def counting(self, name: str) -> Restored:
        """Return it with one more of these."""
        return _replaced(self, **{name: getattr(self, name) + 1})


class _Restore:
    """One restore: what is asked for, and how far it has come."""

    def __init__(
        self,
        at: float,
        ids: frozenset[str] | None,
        deleted: bool,
        dry_run: bool,
        on_progress: Callable[[Restored], object] | None,
    ) -> None:
        self.at = at
        self.deleted = deleted
        self.dry_run = dry_run
        self.ended: set[str] = set()
        self.done = Restored()
        self._ids = ids
        self._on_progress = on_progress

    def is_wanted(self, session_id: str) -> bool:
        return self._ids is None or session_id in self._ids

    def count(self, outcome: str) -> None:
        if outcome:
            self.done = self.done.counting(outcome)

    def tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.done)


class Recovery(Restoring[M], Following[M]):
    """Restores sessions from the past."""

    async def restore_to(
        self,
        at: float,
        *,
        ids: Collection[str] | None = None,
        deleted: bool = False,
        later: bool = False,
        dry_run: bool = False,
        on_progress: Callable[[Restored], object] | None = None,
    ) -> Restored:
        """Bring sessions back to what they were at `at`, seconds since the epoch; return how many, of what kind.

        Metadata, owner, tags and timeout are as they were then; the idle clock starts anew. Each is written as a new
        version and told as an event. With `ids` only those. Deleted and expired sessions are made again only with
        `deleted`, as sessions created now under their ids, which live no longer than their `max_age` had left.
        Sessions that were created after `at` stay unless `later` has them deleted. What was terminated stays so.

        With `dry_run` nothing is changed, and the answer says what would be. `on_progress` is called after every 32
        sessions, or fewer. It is not one transaction: others may write meanwhile, and what an error interrupts stays as
        far as it came; doing it again is safe.

        Raises:
            Misused: `at` is in the future, or before the earliest moment the store knows all of, which the message
                names; nothing was changed then. Or the store keeps no feed.
            Refused: Capacity leaves no room for what is made again; or more than a million of the sessions deleted
                since were terminated.
        """
        feed = self._feed()
        now = self._now()
        at = rules.moment(at, "at")
        if not at <= now:
            raise Misused(f"restore_to({at!r}): it is a moment until now, {now:.3f}")
        page = await feed.state_at(at, changed=True, limit=_PAGE)  # before anything is changed
        restore = _Restore(at, None if ids is None else frozenset(ids), deleted, dry_run, on_progress)
        if deleted:
            restore.ended = await self._terminated_since(feed, at)
        if later:
            await self._delete_later(restore)
        while True:
            wanted = [record for record in page.records if restore.is_wanted(record.id)]
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                for outcome in await asyncio.gather(*(self._restore(record, restore) for record in some)):
                    restore.count(outcome)
                restore.tell()
            if page.cursor is None:
                return restore.done
            page = await feed.state_at(at, cursor=page.cursor, limit=_PAGE)

    async def _terminated_since(self, feed: Feed, at: float) -> set[str]:
        """Return the ids of sessions that were deleted since, and had been terminated: that is final."""
        ended: set[str] = set()
        cursor: str | None = None
        while True:
            page = await feed.changes(after=cursor, limit=_PAGE)
            for change in page.changes:
                if change.kind.is_end and change.at > at and change.record.state == "terminated":
                    ended.add(change.record.id)
            if len(ended) > _ENDED_MAX:
                raise Refused(f"more than {_ENDED_MAX} sessions were terminated since; restore some by ids", wait_s=0.0)
            if page.is_end:
                return ended
            cursor = page.cursor

    async def _delete_later(self, restore: _Restore) -> None:
        """Delete the sessions that were created after the moment."""
        cursor: str | None = None
        while True:
            page = await self._store.scan(Query(), cursor=cursor, limit=_PAGE)
            for record in page.records:
                if record.created_at > restore.at and restore.is_wanted(record.id):
                    restore.count(await self._delete_one(record, restore))
            restore.tell()
            if page.cursor is None:
                return
            cursor = page.cursor

    async def _delete_one(self, found: Record, restore: _Restore) -> str:
        record: Record | None = found
        for _ in range(TRIES_MAX):
            if record is None or record.created_at <= restore.at or rules.is_expired(record, self._now()):
                return ""
            if restore.dry_run or await self._whole(self._delete(record, SessionDeleted)):
                return "deleted"
            record = await self._store.get(record.id)
        return "left"

    async def _restore(self, was: Record, restore: _Restore) -> str:
        """Restore one session; return what became of it, as a field of `Restored`, or nothing."""
        wanted_back = restore.deleted and was.id not in restore.ended
        try:
            outcome = await self.bring_back(was, deleted=wanted_back, dry_run=restore.dry_run)
        except (Conflict, Corrupt):
            return "left"  # others write it all the time, or nobody can
        return _COUNTED.get(outcome, "left")
