"""Makes a backup of a store while it is used, and looks whether one is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from .._version import __version__
from ..codec import PLAIN, Codec
from ..model.clock import Clock
from ..model.errors import Corrupt, Misused, Unavailable
from ..model.ids import redacted
from ..stores import Described, Dumped, DumpPage, Progress, Store
from .archive import ArchiveReader, ArchiveWriter, Header, Totals
from .files import NewFile

NAMED_MAX: Final = 1000


def no_progress(what: str, done: int, total: int) -> None:
    """Tell nobody."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made: its file ("-" for a stream), the moment it is of, and what is in it.

    `damaged` sessions could not be read and are not in it, nor are `lost_entries` of journals; up to 1,000 are named by
    redacted ids.
    """

    file: str
    kind: str
    taken_at: float
    sessions: int
    entries: int
    size_bytes: int
    damaged: int
    named: tuple[str, ...]
    lost_entries: int

    @property
    def complete(self) -> bool:
        """Whether everything could be read."""
        return not self.damaged and not self.lost_entries


async def back_up(
    store: Store | Dumped,
    to: Path | BinaryIO,
    *,
    clock: Clock,
    codec: Codec = PLAIN,
    progress: Progress = no_progress,
) -> Made:
    """Write everything `store` holds now to a file or a stream, while others go on using it.

    A file gets its name when it is whole and on power-safe storage, in place of an older archive; it is for its owner
    only. Memory used does not grow with the store. What is in it is encrypted and compressed by `codec`, whatever the
    store's own does.

    Raises:
        KeyMissing: The store holds something under a key that it was not opened with. Nothing is left of a file.
        Misused: The store cannot be dumped, or the file may not be put there. Nothing was written.
        Unavailable: The disk is full, or whoever reads the stream has gone. Nothing is left of a file.
        Corrupt: More than single sessions cannot be read, or none at all. Nothing is left of a file.
    """
    if not isinstance(to, Path):
        return await _made(store, partial(_write_all, to), "-", clock, codec, progress)
    async with new_file(to) as file:
        made = await _made(store, file.write, str(to), clock, codec, progress)
        await asyncio.to_thread(file.keep)
    return made


@asynccontextmanager
async def new_file(target: Path) -> AsyncIterator[NewFile]:
    """Give a file to be written in threads; what is not kept is gone at the end."""
    file = NewFile(target)
    await asyncio.to_thread(file.open)
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


async def begun(
    store: object,
    write: Callable[[bytes], object],
    pages: AsyncIterator[DumpPage],
    taken_at: float,
    codec: Codec,
    **fields: str,
) -> tuple[ArchiveWriter, Header, DumpPage]:
    """Begin an archive of what `store` gives; return its writer, its header, and the first page, to be added yet."""
    first = await anext(pages)
    kind, schema = type(store).__name__, 0
    if isinstance(store, Described):
        info = await store.info()
        kind, schema = info.kind, info.schema
    header = Header(kind=kind, schema=schema, made_by=__version__, taken_at=taken_at, expected=first.expected)
    header = msgspec.structs.replace(header, **fields)
    return await asyncio.to_thread(ArchiveWriter, write, header, codec), header, first


async def _made(
    store: Store | Dumped,
    write: Callable[[bytes], object],
    name: str,
    clock: Clock,
    codec: Codec,
    progress: Progress,
) -> Made:
    if not isinstance(store, Dumped):
        raise Misused(f"{type(store).__name__} cannot be backed up; use a store that implements Dumped")
    async with store.dump() as pages:
        writer, header, first = await begun(store, write, pages, clock.now(), codec)
        damaged = await _write_pages(writer, first, pages, progress)
        totals = await asyncio.to_thread(writer.end)
    if totals.damaged and not totals.sessions:
        raise Corrupt(
            f"none of {totals.damaged:,} sessions can be read, and a backup of nothing could take the place of a "
            "better one; look whether these are the store's keys, and see `holdfast store check`"
        )
    return Made(
        file=name,
        kind=header.kind,
        taken_at=header.taken_at,
        sessions=totals.sessions,
        entries=totals.entries,
        size_bytes=writer.size_bytes,
        damaged=totals.damaged,
        named=tuple(damaged),
        lost_entries=totals.lost_entries,
    )


async def _write_pages(
    writer: ArchiveWriter, first: DumpPage, rest: AsyncIterator[DumpPage], progress: Progress
) -> list[str]:
    """Write pages in threads; return redacted ids of what could not be read."""
    damaged: list[str] = []
    page: DumpPage | None = first
    while page is not None:
        await asyncio.to_thread(writer.add, page)
        damaged += [redacted(each) for each in page.damaged[: NAMED_MAX - len(damaged)]]
        if page.entries:
            progress("saving messages", writer.totals.entries, 0)
        else:
            progress("saving sessions", writer.totals.sessions, first.expected)
        page = await anext(rest, None)
    return damaged


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that is whole: its header, and what is in it."""

    header: Header
    totals: Totals


async def check(file: BinaryIO, where: str, codec: Codec = PLAIN, progress: Progress = no_progress) -> Checked:
    """Read an archive from its beginning to its end.

    Raises:
        KeyMissing: It is sealed under a key that `codec` has not.
        Misused: It is no archive, or one of a newer version.
        Corrupt: It is damaged, with the place.
    """
    reader = await asyncio.to_thread(reading, file, where, codec)
    async for _ in pages_of(reader):
        progress("checking the archive", reader.totals.sessions + reader.totals.entries, 0)
    return Checked(header=reader.header, totals=reader.totals)


def reading(file: BinaryIO, where: str, codec: Codec) -> ArchiveReader:
    """Return a reader of an open file, from its beginning. Blocks."""
    file.seek(0)
    return ArchiveReader(partial(_read, file, where), where, codec)


async def pages_of(reader: ArchiveReader) -> AsyncIterator[DumpPage]:
    """Yield the pages of an archive, each read in a thread."""
    pages = iter(reader)
    while (page := await asyncio.to_thread(_next, pages)) is not None:
        yield page


def _next(pages: Iterator[DumpPage]) -> DumpPage | None:
    return next(pages, None)


def _read(file: BinaryIO, where: str, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise Unavailable(f"{where} cannot be read: {error.strerror or error}") from error


def _write_all(stream: BinaryIO, data: bytes) -> None:
    try:
        stream.write(data)
        stream.flush()
    except OSError as error:
        why = error.strerror or error
        raise Unavailable(f"the backup could not be written: {why}; what came of it is of no use") from error
