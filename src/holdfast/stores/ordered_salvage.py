"""Goes through a damaged ordered key-value database, around what cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..model.errors import Corrupt
from .ordered_engine import Engine

_NUMBER_BYTES: Final = 256  # of a key: a session's is no longer, and ids may differ in their last byte only

Row = tuple[bytes, bytes]


class Around:
    """Implements `Moment` for an engine that nobody writes; `trouble` is what was in the way first, "" if nothing was.

    Where a block of the database is wrecked it looks for the next key that can be reached, in steps that double and
    then halve. So what lies between two wrecked blocks is found, unless a step passes over it.
    """

    def __init__(self, engine: Engine) -> None:
        self.trouble = ""
        self._engine = engine

    def iterate(self, start: bytes, stop: bytes, limit: int) -> Sequence[Row]:
        found: list[Row] = []
        while len(found) < limit:
            rows = self._rows(start, stop, limit - len(found))
            if rows is not None:
                return [*found, *rows]
            first = self._rows(start, stop, 1)
            if first:
                found += first
                start = first[0][0] + b"\0"
            else:
                reached = None if first is not None else self._next_reachable(start, stop)
                if reached is None:
                    return found
                start = reached
        return found

    def close(self) -> None:
        """Leave the engine open."""

    def _rows(self, start: bytes, stop: bytes, limit: int) -> Sequence[Row] | None:
        try:
            return self._engine.iterate(start, stop, limit)
        except Corrupt as error:
            self.trouble = self.trouble or str(error)
            return None

    def _next_reachable(self, start: bytes, stop: bytes) -> bytes | None:
        """Return a key behind `start` from which rows can be read, or None when there is none before `stop`."""
        unreachable, last = _number_of(start), _number_of(stop)
        step = 1
        while True:
            reached = min(unreachable + step, last)
            if reached == last or self._rows(_key_of(reached), stop, 1) is not None:
                break
            unreachable, step = reached, step * 2
        while reached - unreachable > 1:
            middle = (reached + unreachable) // 2
            if self._rows(_key_of(middle), stop, 1) is None:
                unreachable = middle
            else:
                reached = middle
        return None if reached >= last else _key_of(reached)


def _number_of(key: bytes) -> int:
    return int.from_bytes(key[:_NUMBER_BYTES].ljust(_NUMBER_BYTES, b"\0"), "big")


def _key_of(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big")
