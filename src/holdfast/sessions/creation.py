"""How a new record comes into a store: under a free id, within the capacity, and written or not."""

from __future__ import annotations

from typing import TypeVar

from ..model.errors import Conflict, Moved, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from ..stores import BesideStore
from . import rules
from .acts import Acts
from .events import SessionCreated, SessionExpired
from .session import Session

M = TypeVar("M")


class Creation(Acts[M]):
    """Puts new records."""

    async def _created(self, record: Record, *, durable: bool) -> Session[M]:
        """Store a new record and tell of it; when it is not `durable` it stays in this process's memory.

        Raises:
            Conflict: The id is taken. Nothing was changed.
            Refused: There is no room for it.
        """
        resident = self._resident
        if self._room is not None:
            await self._room.admit(self._store, record.owner, record.created_at)
        elif resident is not None and durable and resident.get_now(record.id) is None:
            resident.put_now(record, 0)
            return self._came(record)
        return await self._whole(self._put_and_tell(record, durable))

    async def _put_and_tell(self, record: Record, durable: bool) -> Session[M]:
        try:
            await self._put_new(record, durable)
        except BaseException:
            if self._room is not None:
                self._room.left_out(record.owner)
            raise
        if self._room is not None:
            self._room.came(record.id, record.owner)
        return self._came(record)

    def _came(self, record: Record) -> Session[M]:
        self._meter.created += 1
        return self._written(record, record.created_at, SessionCreated)

    async def _put_new(self, record: Record, durable: bool) -> None:
        if not durable and not isinstance(self._store, BesideStore):
            self._use_store(BesideStore.around(self._store))
        try:
            await self._put_once(record, durable)
        except (VersionConflict, Moved) as error:  # a term of its own has the session under that id
            if not await self._make_room(record):
                raise Conflict(f"the id {redacted(record.id)} is taken; choose another") from error
            await self._put_once(record, durable)

    async def _put_once(self, record: Record, durable: bool) -> None:
        if durable:
            await self._store.put(record, expect=0)
        else:
            assert isinstance(self._store, BesideStore)
            await self._store.hold(record)

    async def _make_room(self, wanted: Record) -> bool:
        """Delete the session under a wanted id if it is expired; return whether the id is free now."""
        record = await self._store.get(wanted.id)
        if record is None:
            return True
        if not rules.is_expired(record, wanted.created_at, self._late_s):
            return False
        return await self._delete(record, SessionExpired)
