"""Puts a backup in the place of a store: all of it is read and checked before anything is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..codec import PLAIN, Codec
from ..model.clock import Clock
from ..model.errors import Conflict, Corrupt, HoldfastError, Misused
from ..model.session import Record
from ..stores import Dumped, DumpPage, Old, Progress, Replacement, file_of, open_store, replacement_of
from .archive import ArchiveReader
from .backup import Checked, check, no_progress, pages_of, reading
from .files import opened
from .rules import LATE_S, TERMS_PASSED_OVER, revived


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did: `sessions` are there again, as of `taken_at`.

    Left out were `expired` ones, whose end had come, and `deleted` ones, which were deleted or terminated since.
    `damaged` ones could not be read when the backup was made. `kept` is where the old store is, "" when it had no
    session.
    """

    kind: str
    taken_at: float
    sessions: int
    entries: int
    expired: int
    deleted: int
    damaged: int
    kept: str


async def restore(
    source: Path | BinaryIO,
    url: str,
    *,
    clock: Clock,
    replace: bool = False,
    deleted: bool = False,
    codec: Codec = PLAIN,
    progress: Progress = no_progress,
) -> Restored:
    """Put a backup in the place of the store at `url`, which no process may have open; what was there is kept aside.

    The archive is read twice: to check all of it, and to make a new store beside the old one. Then one takes the name
    of the other; killed at any moment, it leaves the old or the new. What comes through a pipe is saved first.

    Idle clocks start again. What had expired when the backup was made, or has reached its greatest age since, stays
    gone. So does what the store at `url` says was deleted or terminated since, unless `deleted` wants it back. A store
    that has sessions wants `replace`. `codec` opens the backup, and seals the new store.

    Raises:
        Misused: It is no backup, or of a newer version; there can be no store, or one is there and `replace` was not
            given. Nothing was changed.
        Corrupt: The backup is damaged. Nothing was changed.
        KeyMissing: It is sealed under a key that `codec` has not. Nothing was changed.
        Conflict: A process has the store open. Nothing was changed.
        Unavailable: The disk is full, or does not work. Nothing was changed.
    """
    replacement = await asyncio.to_thread(replacement_of, url)
    where = str(source) if isinstance(source, Path) else "what comes"
    file = await asyncio.to_thread(opened, source, file_of(url).absolute().parent)
    try:
        checked = await check(file, where, codec, progress)
        if checked.header.scope != "store":
            raise Misused(f"{where} is a snapshot, not a backup; see `holdfast snapshot restore`")
        try:
            old = await asyncio.to_thread(replacement.begin)
            _refuse_unless_chosen(url, old, replace=replace, deleted=deleted)
            reader = await asyncio.to_thread(reading, file, where, codec)
            coming = _Coming(reader, checked, clock, replacement if old.sessions and not deleted else None, old.term)
            await _build(replacement.new_url, codec, coming, progress)
            progress("putting it in its place", 0, 0)
            kept = await asyncio.to_thread(replacement.exchange)
        finally:
            await asyncio.to_thread(replacement.close)
    finally:
        await asyncio.to_thread(file.close)
    return Restored(
        kind=checked.header.kind,
        taken_at=checked.header.taken_at,
        sessions=coming.sessions,
        entries=checked.totals.entries,
        expired=coming.expired,
        deleted=coming.deleted,
        damaged=checked.totals.damaged,
        kept=kept,
    )


def _refuse_unless_chosen(url: str, old: Old, *, replace: bool, deleted: bool) -> None:
    if not old.sessions and not old.damage:
        return
    there = f"has {old.sessions:,} sessions" if old.sessions else f"is damaged ({old.damage})"
    if not replace:
        raise Misused(f"the store {url} {there}; add --replace to put the backup in its place, which keeps it aside")
    if old.damage and not deleted:
        raise Misused(
            f"the store {url} {there}, so nobody knows which sessions were deleted since the backup; "
            "add --deleted to bring back all that are in it"
        )


async def _build(new_url: str, codec: Codec, coming: _Coming, progress: Progress) -> None:
    try:
        async with open_store(new_url, codec=codec) as store:
            assert isinstance(store, Dumped)  # replacement_of knows no other
            await store.load(coming.pages(progress))
    except Conflict as error:  # it is nobody's but ours
        raise Corrupt(f"the backup cannot be put in a store: {error}; nothing was changed") from error


class _Coming:
    """The pages of a backup as they come back: without what stays gone, and with terms that were never given out."""

    def __init__(
        self, reader: ArchiveReader, checked: Checked, clock: Clock, old: Replacement | None, term: int
    ) -> None:
        self._reader = reader
        self._checked = checked
        self._clock = clock
        self._old = old
        self._term = term
        self.sessions = self.expired = self.deleted = 0

    async def pages(self, progress: Progress) -> AsyncIterator[DumpPage]:
        total = self._checked.totals.sessions
        async for page in pages_of(self._reader):
            records = await self._records(page.records)
            self.sessions += len(records)
            progress("restoring", self.sessions, total)
            term = max(page.term, self._term, *(record.term for record in page.records)) + TERMS_PASSED_OVER
            yield DumpPage(term=term, records=records, entries=page.entries)
        if self._reader.totals != self._checked.totals:
            raise Corrupt("the backup was changed while it was read; nothing was changed")

    async def _records(self, found: list[Record]) -> list[Record]:
        now = self._clock.now()
        taken_at = self._checked.header.taken_at
        records = [back for record in found if (back := revived(record, taken_at, now)) is not None]
        self.expired += len(found) - len(records)
        if self._old is None or not records:
            return records
        alive = await self._alive(records, now)
        left = [record for record in records if record.id in alive or record.state != "active"]
        self.deleted += len(records) - len(left)
        return left

    async def _alive(self, records: list[Record], now: float) -> set[str]:
        assert self._old is not None
        try:
            return await asyncio.to_thread(self._old.alive, records, now - LATE_S)
        except HoldfastError as error:
            raise Misused(
                f"nobody knows which sessions were deleted since the backup, for the store cannot be read ({error}); "
                "add --deleted to bring back all that are in it"
            ) from error
