"""Folds SQLite's write-ahead log into the file, in a thread of its own, so that no commit waits for it.

Invariant: a checkpoint is PASSIVE, which waits for nobody (sqlite.org/c3ref/wal_checkpoint_v2.html). The first, here,
moves the bulk while others write; the second, on the writer, moves the rest, after which the log starts again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from .lane import Act, Lane
from .sqlite_faults import translated
from .sqlite_writer import Writer

_PAGES_BETWEEN: Final = 4000
_REST_PAGES_MAX: Final = 1000


class Checkpoints:
    """Makes a checkpoint whenever about 16 MB were written; `make_if_wanted` is called now and then."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        writer: Writer,
        write: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._write = write
        self._made_at = 0
        self._lane: Lane[Act] = Lane("the database's checkpoints", self._work, connection.close)

    async def make_if_wanted(self) -> None:
        """Make a checkpoint if enough was written since the last.

        Raises:
            Unavailable: It takes longer than 5 s, or failed; the log grows until a later one succeeds.
        """
        written = self._writer.pages_written
        if written - self._made_at < _PAGES_BETWEEN:
            return
        self._made_at = written
        act = Act()
        await self._lane.submit(act)
        if act.error is not None:
            raise translated(act.error)
        _, logged, moved = act.result
        if logged - moved <= _REST_PAGES_MAX:
            await self._write(_checkpoint)

    async def close(self) -> None:
        """End the thread once its checkpoint is made; returns after 5 s at the latest."""
        await self._lane.close()

    def _work(self, acts: Sequence[Act]) -> None:
        for act in acts:
            act.result = _checkpoint(self._connection)


def _checkpoint(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return whether it was kept from ending, the pages in the log, and how many of them are in the file now."""
    made: tuple[int, int, int] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return made
