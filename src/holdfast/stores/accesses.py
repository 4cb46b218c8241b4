"""Accesses that were told and not written yet; reads see them, and many are written together."""

from __future__ import annotations

from math import inf
from typing import Final

import msgspec

from ..model.session import Record

_replaced: Final = msgspec.structs.replace


class Accesses:
    """The last access of each session as far as it is not written. Bounded by the sessions in use."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._leaving: dict[str, float] = {}
        self._write_at = 0.0

    def tell(self, session_id: str, at: float, write_at: float) -> None:
        """Note an access at `at` that wants to be written by `write_at`, in the loop's time."""
        if not self._told or write_at < self._write_at:
            self._write_at = write_at
        if self._told.get(session_id, at) <= at:
            self._told[session_id] = at

    def merged(self, record: Record) -> Record:
        """Return the record with what was told of it."""
        at = self.last_of(record.id)
        return record if at <= record.last_accessed else _replaced(record, last_accessed=at)

    def last_of(self, session_id: str) -> float:
        """Return the last access told and perhaps not written, or minus infinity."""
        return max(self._told.get(session_id, -inf), self._leaving.get(session_id, -inf))

    def forget(self, session_id: str) -> None:
        """Drop what was told of a session that is deleted."""
        self._told.pop(session_id, None)
        self._leaving.pop(session_id, None)

    def want_writing(self, now: float) -> bool:
        """Tell whether it is time to write, `now` being the loop's."""
        return bool(self._told) and self._write_at <= now

    def take(self) -> dict[str, float]:
        """Return what is to be written now; call `kept` if it could not be.

        Reads go on seeing it until the next time: one that began before it was written may end after that.
        """
        self._leaving, self._told = self._told, {}
        return self._leaving

    def kept(self) -> None:
        """Take back what could not be written, to be written with what comes."""
        for session_id, at in self._leaving.items():
            self._told[session_id] = max(at, self._told.get(session_id, at))
        self._leaving = {}
