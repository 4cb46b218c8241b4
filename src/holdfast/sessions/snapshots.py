"""What snapshots ask of a manager: the records of one moment, and that a session becomes again what it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from ..model.errors import Conflict, Misused, NotFound
from ..model.ids import redacted
from ..model.session import Record
from ..stores import BesideStore, Dumped
from ..stores.contract import DumpPage, Store
from . import rules
from .acts import not_found
from .creation import Creation
from .events import SessionUpdated
from .session import Changes

M = TypeVar("M")

Outcome: TypeAlias = Literal["changed", "same", "created", "gone", "expired", "terminated", "taken"]
"""What became of a session that was to be brought back."""

_FIELDS: Final = ("timeout", "tags", "metadata")


class Restoring(Creation[M]):
    """Gives records out, and brings sessions back."""

    async def record_of(self, session_id: str) -> Record:
        """Return the record of a session as it is stored; this does not count as an access.

        Raises:
            NotFound: It was never there, or is deleted, terminated or expired.
            Misused: It is kept in this process's memory only, and must not be written anywhere.
        """
        if isinstance(self._store, BesideStore) and self._store.holds(session_id):
            raise Misused(f"session {redacted(session_id)} was created with durable=False and is never written")
        record = await self._store.get(session_id)
        if record is None or rules.is_gone(record, self._now()):
            raise not_found(session_id)
        return record

    @asynccontextmanager
    async def moment(self, session_id: str | None = None) -> AsyncIterator[tuple[Store, AsyncIterator[DumpPage]]]:
        """Give the store and pages of its records, all or one, as they are now, while others go on writing.

        Those kept in this process's memory only are not among them.

        Raises:
            Misused: The store cannot be dumped; or as `record_of`.
            NotFound: As `record_of`.
        """
        store = self._store
        if session_id is not None:
            yield store, _one(await self.record_of(session_id))
            return
        if not isinstance(store, Dumped):
            raise Misused(f"{type(store).__name__} has no moments; use a store that implements Dumped")
        async with store.dump(journal=False) as pages:
            yield store, pages

    async def bring_back(self, record: Record, *, deleted: bool = False, dry_run: bool = False) -> Outcome:
        """Make a session again what `record` says: its metadata, tags and timeout, as a new version. An access.

        It outlives a power failure, as any update. Returns what became of it: "changed", or "same", it was so already;
        "expired", it has reached its greatest age; "terminated", which is final; "gone", it is not there any more, and
        stays so unless `deleted` wants it back: then it is "created", as a new session that ends at the same age, or
        its id is "taken" by another one. With `dry_run` nothing is written, and the answer says what would be.

        Raises:
            Conflict: Others wrote it in between every time it was tried. Nothing was written.
            Refused: It would be one session more than the manager's capacity lets there be.
        """
        now = self._now()
        stored = await self._store.get(record.id)
        if record.state != "active" or (stored is not None and stored.state != "active"):
            return "terminated"
        if record.timeout == 0 or (record.max_age is not None and now - record.created_at >= record.max_age):
            return "expired"
        if stored is None or rules.is_expired(stored, now) or stored.created_at != record.created_at:
            return await self._create_again(record, stored, now, dry_run=dry_run) if deleted else "gone"
        is_same = all(getattr(record, name) == getattr(stored, name) for name in _FIELDS)
        try:
            if not dry_run and is_same:
                await self._use(record.id, now)
            elif not dry_run:
                await self._write(record.id, _as_in(record), SessionUpdated)
        except NotFound:
            return "gone"
        return "same" if is_same else "changed"

    async def _create_again(self, record: Record, stored: Record | None, now: float, *, dry_run: bool) -> Outcome:
        if stored is not None and not rules.is_expired(stored, now):
            return "taken"
        left_s = None if record.max_age is None else record.max_age - (now - record.created_at)
        again = msgspec.structs.replace(record, version=1, term=0, created_at=now, last_accessed=now, max_age=left_s)
        try:
            if not dry_run:
                await self._created(again, durable=True)
        except Conflict:
            return "taken"
        return "created"


async def _one(record: Record) -> AsyncIterator[DumpPage]:
    yield DumpPage(records=[record], expected=1)


def _as_in(record: Record) -> Callable[[Record], Changes]:
    def change(current: Record) -> dict[str, Any]:
        if current.created_at != record.created_at:
            raise not_found(record.id)
        return {name: getattr(record, name) for name in _FIELDS}

    return change
