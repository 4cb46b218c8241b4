"""How a new record comes into a store: under a free id, within the capacity, and written or not."""

from __future__ import annotations

from typing import TypeVar

from ..model.errors import Conflict, Moved, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from ..stores import BesideStore
from . import rules
from .acts import Acts
from .events import SessionExpired

M = TypeVar("M")


class Creation(Acts[M]):
    """Puts new records."""

    async def _put(self, record: Record, *, durable: bool) -> None:
        """Store a new record; when it is not `durable` it stays in this process's memory.

        Raises:
            Conflict: The id is taken. Nothing was changed.
            Refused: There is no room for it.
        """
        if self._room is not None:
            await self._put_admitted(record, durable)
        elif self._resident is None or not durable or self._resident.get_now(record.id) is not None:
            await self._put_new(record, durable)
        else:
            self._resident.put_now(record, 0)

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
        if not await self._store.delete(record.id, expect=record):
            return False
        self._meter.expired += 1
        self._removed(record, SessionExpired)
        return True

    async def _put_admitted(self, record: Record, durable: bool) -> None:
        room = self._room
        assert room is not None
        await room.admit(self._store, record.owner, record.created_at)
        try:
            await self._put_new(record, durable)
        except BaseException:
            room.left_out(record.owner)
            raise
        room.came(record.id, record.owner)
