"""Folds SQLite's write-ahead log into the file, in a thread of its own, so that no commit waits for it.

Invariant: a checkpoint is PASSIVE, which waits for nobody (sqlite.org/c3ref/wal_checkpoint_v2.html). The first, here,
moves the bulk while others write; the second, on the writer, moves the rest, after which the log starts again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ..model.errors import Unavailable
from .disk import sync
from .lane import Act, Lane
from .sqlite_faults import translated
from .sqlite_writer import Writer

_PAGES_BETWEEN: Final = 4000
_REST_PAGES_MAX: Final = 1000


class _Job(Act):
    __slots__ = ("job",)

    def __init__(self, job: Callable[[sqlite3.Connection], Any]) -> None:
        super().__init__()
        self.job = job


class Checkpoints:
    """Makes a checkpoint whenever about 16 MB were written; `make_if_wanted` is called now and then."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        writer: Writer,
        write: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
    ) -> None:
        self._path = path
        self._connection = connection
        self._writer = writer
        self._write = write
        self._made_at = 0
        self._safe_at = -1
        self._lane: Lane[_Job] = Lane("the database's checkpoints", self._work, connection.close)

    async def make_if_wanted(self) -> None:
        """Make a checkpoint if enough was written since the last.

        Raises:
            Unavailable: It takes longer than 5 s, or failed; the log grows until a later one succeeds.
        """
        written = self._writer.pages_written
        if written - self._made_at < _PAGES_BETWEEN:
            return
        self._made_at = written
        _, logged, moved = await self._do(_checkpoint)
        if logged - moved <= _REST_PAGES_MAX:
            await self._write(_checkpoint)

    async def make_safe(self) -> None:
        """Have what was written before this outlive a power failure; nothing happens when nothing was written since.

        Raises:
            Unavailable: It takes longer than 5 s, or failed; the next call does it again.
        """
        written = self._writer.pages_written
        if written != self._safe_at:
            await self._do(lambda _: sync_log(self._path))
            self._safe_at = written

    def end(self) -> None:
        """Have the thread end once its checkpoint is made; nothing is waited for."""
        self._lane.end()

    async def close(self) -> None:
        """End the thread once its checkpoint is made; returns after 5 s at the latest."""
        await self._lane.close()

    async def _do(self, job: Callable[[sqlite3.Connection], Any]) -> Any:
        act = _Job(job)
        await self._lane.submit(act)
        if act.error is not None:
            raise translated(act.error)
        return act.result

    def _work(self, acts: Sequence[_Job]) -> None:
        for act in acts:
            act.result = act.job(self._connection)


def sync_log(path: Path) -> None:
    """Bring the log of the file at `path` to power-safe storage. Blocks.

    What is committed is in the log, or in the file: whoever folded it there synced both. The folder is synced too, for
    the log may be new.

    Raises:
        Unavailable: It failed.
    """
    whole = path.resolve()
    for place in (whole.with_name(whole.name + "-wal"), whole.parent):
        try:
            sync(place)
        except FileNotFoundError:
            continue  # the last connection was closed: everything is in the file
        except OSError as error:
            raise Unavailable(
                f"{place} could not be synced: {error.strerror}; a power failure may take back what was written since "
                "the last time"
            ) from error


def _checkpoint(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return whether it was kept from ending, the pages in the log, and how many of them are in the file now."""
    made: tuple[int, int, int] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return made
