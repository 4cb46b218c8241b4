"""What stores have in common whose engine blocks: one thread writes, another reads, and the event loop waits for them.

An engine's store says what one act of it is (`_to_put`, `_to_read`, …); when it is done, with what beside it, and what
becomes of accesses meanwhile is here.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

from ..codec import Codec
from ..model.clock import Clock
from ..model.errors import HoldfastError, Misused, Unavailable
from ..model.session import Record
from ..runtime import Periodic
from .accesses import Accesses
from .closing import closed
from .contract import Batch, Changes, FeedBounds, IdPage, Page, Past, Query
from .lane import Act, Lane
from .sealing import SEALING_S, Sealing

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)
V = TypeVar("V")
W = TypeVar("W", bound=Act)
T = TypeVar("T")

AT_ONCE: Final = 1024
"""How many entries a batch has at most; how many sessions are deleted, or have their accesses written, together."""

CHORE_S: Final = 1.0
_DUE_PAGES_MAX: Final = 10

_log = logging.getLogger(__name__)


class _Pages(Protocol[R_contra]):
    def scan(self, reads: R_contra, query: Query, cursor: str | None, limit: int, /) -> Page: ...

    def ids(
        self, reads: R_contra, now: float, cursor: str | None, limit: int, /
    ) -> tuple[IdPage, Sequence[tuple[str, float, float]]]: ...


class _Feed(Protocol):
    async def changes(self, after: str | None, limit: int) -> Changes: ...

    async def position(self) -> str: ...

    async def state_at(self, at: float, changed: bool, cursor: str | None, limit: int) -> Past: ...

    async def trim(self, bounds: FeedBounds, now: float) -> int: ...


class LaneStore(ABC, Generic[R, V, W]):
    """Reads by functions of an `R`, and writes by acts `W`, some of which are functions of a `V`.

    Writes of all tasks that wait together are one write and one fsync (group commit).
    """

    _writer: Lane[W]
    _reader: Lane[Any]
    _pages: _Pages[R]
    _feed: _Feed
    _sealing: Sealing

    def __init__(self, codec: Codec, clock: Clock) -> None:
        self._codec = codec
        self._now = clock.now
        self._accesses = Accesses()
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._due_after: Any = None

    @asynccontextmanager
    async def _kept_up(self, *chores: Periodic) -> AsyncIterator[None]:
        """Have the chores done, those of every store too; at the end write what waits and close it."""
        every = [Periodic("write accesses", self._write_if_wanted, interval_s=CHORE_S), *chores]
        if not self._codec.is_plain:
            every.append(Periodic("seal anew", self.seal_anew, interval_s=SEALING_S))
        for chore in every:
            chore.start()
        try:
            await self._sealing.begin()
            yield
        finally:
            await closed(self._close(every))

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        if record.version != expect + 1:
            raise Misused(f"a record put with expect={expect} has version {expect + 1}, not {record.version}")
        await self._write(self._to_put(record, self._now(), durable))

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        if not is_text(session_id):
            return False
        deleted: bool = await self._write(
            self._to_delete(session_id, self._now(), expect=expect, due_at=None, durable=durable)
        )
        if deleted:
            self._forget(session_id)
        return deleted

    async def touch(self, session_id: str, at: float, *, within_s: float = 1.0) -> None:
        self._accesses.tell(session_id, at, self._loop.time() + within_s)

    async def scan(self, query: Query, *, cursor: str | None = None, limit: int = 1000) -> Page:
        page = await self._read(lambda reads: self._pages.scan(reads, query, cursor, limit))
        return Page([self._accesses.merged(record) for record in page.records], page.cursors, page.cursor)

    async def list_ids(self, now: float, *, cursor: str | None = None, limit: int = 1000) -> IdPage:
        page, late = await self._read(lambda reads: self._pages.ids(reads, now, cursor, limit))
        for session_id, timeout, expires_at in late:
            if min(expires_at, self._accesses.last_of(session_id) + timeout) > now:
                page.ids.append(session_id)
        return page

    async def expire(self, now: float, *, limit: int = 1000) -> list[Record]:
        found = await self._due(now, limit)
        if any(self._accesses.merged(record).deadline > now for record in found):
            # Accesses not yet written hide what is really due behind them.
            await self._write_accesses()
            found = await self._due(now, limit)
        due = [record for record in found if self._accesses.merged(record).deadline <= now]
        at = self._now()
        acts = [self._to_delete(record.id, at, expect=record, due_at=now, durable=False) for record in due]
        for start in range(0, len(acts), AT_ONCE):
            await self._writer.submit(*acts[start : start + AT_ONCE])
        gone = [record for record, act in zip(due, acts, strict=True) if act.error is None and act.result]
        for record in gone:
            self._forget(record.id)
        failed = next((act.error for act in acts if act.error is not None), None)
        if failed is not None and not gone:  # else the next call meets it again: what is gone is told by this one only
            raise failed
        return gone

    async def seal_anew(self) -> None:
        """Seal what lies under older keys with the current one, and learn to compress; done by itself, too."""
        await self._sealing.run()

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        acts = [self._to_append(batch) if 0 < len(batch.entries) <= AT_ONCE else None for batch in batches]
        fit = [act for act in acts if act is not None]
        if fit:
            await self._writer.submit(*fit)
        return [_refusal(batch, act) for batch, act in zip(batches, acts, strict=True)]

    async def changes(self, *, after: str | None = None, limit: int = 500) -> Changes:
        return await self._feed.changes(after, limit)

    async def position(self) -> str:
        return await self._feed.position()

    async def state_at(self, at: float, *, changed: bool = False, cursor: str | None = None, limit: int = 500) -> Past:
        return await self._feed.state_at(at, changed, cursor, limit)

    async def trim_changes(self, bounds: FeedBounds, now: float) -> int:
        return await self._feed.trim(bounds, now)

    @abstractmethod
    def _to_put(self, record: Record, at: float, durable: bool) -> W:
        """Return the act that does `Store.put` at the moment `at`."""

    @abstractmethod
    def _to_delete(
        self, session_id: str, at: float, *, expect: Record | None, due_at: float | None, durable: bool
    ) -> W:
        """Return the act that does `Store.delete` at `at`, if it is due at `due_at`; its result is whether it did."""

    @abstractmethod
    def _to_touch(self, accesses: Sequence[tuple[str, float]]) -> W:
        """Return the act that writes these accesses, of which there are `AT_ONCE` at most."""

    @abstractmethod
    def _to_append(self, batch: Batch) -> W:
        """Return the act that writes a batch of 1 to `AT_ONCE` entries."""

    @abstractmethod
    def _to_run(self, run: Callable[[V], Any]) -> W:
        """Return the act that does what `run` does, which may look at anything; not durable."""

    @abstractmethod
    def _to_read(self, run: Callable[[R], Any]) -> Act:
        """Return the reader's act that does what `run` does."""

    @abstractmethod
    async def _read_due(self, now: float, after: Any, limit: int) -> tuple[list[Record], Any]:
        """Return what is readable of the next `limit` records that are due, and where they end.

        None is the beginning and the end of all.
        """

    @abstractmethod
    async def _close_beside_writer(self) -> None:
        """Close all but the writer's lane, when there are no chores any more."""

    def _forget(self, session_id: str) -> None:
        """Let go of what is kept in memory of a session that was deleted."""
        self._accesses.forget(session_id)

    async def _due(self, now: float, limit: int) -> list[Record]:
        """Return the next records that are due, behind any pages of which nothing can be read.

        At most ten pages are looked at; the next call goes on behind them, and begins anew at the end.
        """
        after, self._due_after = self._due_after, None
        for _ in range(_DUE_PAGES_MAX):
            found, after = await self._read_due(now, after, limit)
            if found or after is None:
                return found
        self._due_after = after
        return []

    async def _read(self, run: Callable[[R], T]) -> T:
        act = self._to_read(run)
        await self._reader.submit(act)
        if act.error is not None:
            raise act.error
        result: T = act.result
        return result

    async def _run(self, run: Callable[[V], int]) -> int:
        count: int = await self._write(self._to_run(run))
        return count

    async def _write(self, act: W) -> Any:
        await self._writer.submit(act)
        if act.error is not None:
            raise act.error
        return act.result

    async def _write_if_wanted(self) -> None:
        if self._accesses.want_writing(self._loop.time()):
            await self._write_accesses()

    async def _write_accesses(self) -> None:
        async with self._writing:
            rest = iter(self._accesses.take().items())
            acts: list[W] = []  # all of them before the first is written: a deletion meanwhile takes from what is told
            while told := list(islice(rest, AT_ONCE)):
                acts.append(self._to_touch(told))
            try:
                for act in acts:
                    await self._write(act)
            except BaseException:
                self._accesses.kept()
                raise

    async def _close(self, chores: Sequence[Periodic]) -> None:
        try:
            for chore in chores:
                await chore.stop()
            try:
                await self._write_accesses()
            except HoldfastError as error:
                # The sessions are there; they only look as if they had been idle a little longer.
                _log.warning("the last accesses could not be written: %s", error)
            await self._close_beside_writer()
        finally:
            # Also where there is no time left to wait for them: else the store is held until the process ends.
            self._reader.end()
            self._writer.end()
        await self._writer.close()


def _refusal(batch: Batch, act: Act | None) -> HoldfastError | None:
    """Return why a batch was not written, or None."""
    if act is None:
        too_large = Misused(f"a batch holds at most {AT_ONCE} entries, not {len(batch.entries)}")
        return too_large if batch.entries else None
    if act.error is None or isinstance(act.error, HoldfastError):
        return act.error
    _log.error("entries could not be written", exc_info=act.error)
    unavailable = Unavailable(f"the entries could not be written: {act.error}")
    unavailable.__cause__ = act.error
    return unavailable


def is_text(session_id: object) -> bool:
    """Tell whether it can be an id at all; what cannot be encoded would fail a whole batch."""
    try:
        return isinstance(session_id, str) and bool(session_id.encode())
    except UnicodeEncodeError:
        return False
