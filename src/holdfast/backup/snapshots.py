"""Snapshots: the records of sessions as they were at a moment, in files of a folder, to compare and to restore."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast

import msgspec

from ..codec import PLAIN, Codec
from ..model.clock import Clock, SystemClock
from ..model.errors import Misused, NotFound, Unavailable
from ..model.ids import redacted
from ..model.session import Record
from ..sessions import Outcome, SessionManager
from ..sessions.rules import is_expired
from ..stores import DumpPage, Progress
from . import rules
from .archive import TRAILER_BYTES, ArchiveReader, Header, totals_at_end
from .backup import begun, check, new_file, no_progress, pages_of, reading
from .changes import Change, Comparison

SUFFIX: Final = ".hfs"
_SCOPE: Final = "snapshot"
_AT_ONCE: Final = 64
_COMPARED_BYTES: Final = 64 * 2**20
_LISTED_MAX: Final = 10_000


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot in the folder: the moment it is of, how many sessions it holds, and the size of its file.

    `damage` says why it cannot be used, "" when nothing is seen of that: only reading all of it tells.
    """

    name: str
    taken_at: float = 0.0
    sessions: int = 0
    size_bytes: int = 0
    damage: str = ""


class BroughtBack(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions a restore found, by what became of them (`SessionManager.bring_back`)."""

    changed: int = 0
    same: int = 0
    created: int = 0
    gone: int = 0
    expired: int = 0
    terminated: int = 0
    taken: int = 0


Infos: TypeAlias = list[SnapshotInfo]
Records: TypeAlias = list[Record]
Outcomes: TypeAlias = list[Outcome]


class Snapshots:
    """Snapshots of the sessions of one manager, each a file in `folder`, which is made when the first is taken.

    A snapshot holds what a session is, without the journal of its messages and without what is never written
    (`durable=False`). It is of one moment, and taken while others go on. Memory used does not grow with its size. It is
    encrypted and compressed by `codec`, whatever the store's own does.
    """

    def __init__(
        self, sessions: SessionManager[Any], folder: Path, *, clock: Clock | None = None, codec: Codec = PLAIN
    ) -> None:
        self._sessions = sessions
        self._codec = codec
        self._folder = folder
        self._clock = clock or SystemClock()

    async def take(
        self, name: str | None = None, *, session_id: str | None = None, progress: Progress = no_progress
    ) -> SnapshotInfo:
        """Write all sessions, or one, to a new snapshot. Without a name it is called by the time.

        Raises:
            Misused: The name is taken or none, the store has no moments, or the session is never written.
            NotFound: The one session is not there.
            Unavailable: The disk is full, or does not work. Nothing is left of it.
        """
        name = rules.checked_name(name or rules.name_at(self._clock.now()))
        path = self._path(name)
        await asyncio.to_thread(_make_folder, self._folder)
        async with new_file(path) as file:
            count = await self._write(file.write, name, session_id, progress)
            await asyncio.to_thread(partial(file.keep, new=True))
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        return SnapshotInfo(name=name, taken_at=count.taken_at, sessions=count.expected, size_bytes=size_bytes)

    async def list(self) -> Infos:
        """Return the snapshots in the folder, the oldest first; 10,000 at most. Only their ends are looked at.

        Raises:
            Misused: There is something else than a folder.
        """
        return await asyncio.to_thread(self._list)

    async def diff(
        self, name: str, other: str | None = None, *, progress: Progress = no_progress
    ) -> AsyncIterator[Change]:
        """Yield what was created, deleted and changed from one snapshot to another one, or to now.

        Raises:
            NotFound: There is no such snapshot.
            Corrupt: One is damaged; what was yielded is what was found until there.
            Misused, Unavailable: As `take`.
        """
        async with self._opened(name) as before, self._opened_or_now(other) as after:
            size_bytes = await asyncio.to_thread(before.seek, 0, 2)
            parts = 1 + size_bytes // _COMPARED_BYTES
            for part in range(parts):
                compared = Comparison(part, parts)
                async for page in self._pages(before, name):
                    await asyncio.to_thread(compared.add_before, page.records)
                    progress("comparing", part, parts)
                async for page in self._pages(after, other or "now"):
                    for change in await asyncio.to_thread(compared.add_after, page.records):
                        yield change
                for gone in compared.deleted():
                    for change in gone:
                        yield change

    async def restore(
        self,
        name: str,
        *,
        session_id: str | None = None,
        deleted: bool = False,
        progress: Progress = no_progress,
    ) -> BroughtBack:
        """Make the sessions of a snapshot, or one of them, what they were, each as a new version with its event.

        All of the snapshot is read and checked before anything is changed. What is deleted or expired stays so, unless
        `deleted` wants it back; what is terminated, or has reached its greatest age, stays gone. Sessions that are not
        in it are left alone. It is not one transaction: what an error interrupts stays as far as it came, and doing it
        again is safe. Idle clocks start again.

        Raises:
            NotFound: There is no such snapshot, or the session is not in it.
            Corrupt: It is damaged. Nothing was changed.
            Conflict, Refused: As `SessionManager.bring_back`.
        """
        counts: Counter[Outcome] = Counter()
        async with self._opened(name) as file:
            checked = await check(file, f"snapshot {name}", self._codec, progress)
            total = 1 if session_id is not None else checked.totals.sessions
            async for page in self._pages(file, name):
                records = [each for each in page.records if session_id is None or each.id == session_id]
                for start in range(0, len(records), _AT_ONCE):
                    counts.update(await self._bring_back(records[start : start + _AT_ONCE], deleted=deleted))
                    await asyncio.sleep(0)
                    progress("restoring", counts.total(), total)
        if session_id is not None and not counts:
            raise NotFound(f"session {redacted(session_id)} is not in snapshot {name}")
        return BroughtBack(**{str(outcome): count for outcome, count in counts.items()})

    async def delete(self, name: str) -> None:
        """Delete a snapshot.

        Raises:
            NotFound: There is none.
        """
        path = self._path(rules.checked_name(name))
        try:
            await asyncio.to_thread(path.unlink)
        except FileNotFoundError as error:
            raise self._not_there(name) from error
        except OSError as error:
            raise Unavailable(f"{path} cannot be deleted: {error.strerror or error}") from error

    async def _bring_back(self, records: Records, *, deleted: bool) -> Outcomes:
        """Bring some back at once, which a store writes together."""
        return await asyncio.gather(*(self._sessions.bring_back(record, deleted=deleted) for record in records))

    async def _write(
        self, write: Callable[[bytes], object], name: str, session_id: str | None, progress: Progress
    ) -> Header:
        """Write an archive; return its header, with how many sessions there are."""
        async with self._sessions.moment(session_id) as (store, pages):
            fields = {"scope": _SCOPE, "name": name}
            writer, header, first = await begun(store, write, pages, self._clock.now(), self._codec, **fields)
            page: DumpPage | None = first
            while page is not None:
                alive = [each for each in page.records if not is_expired(each, header.taken_at, rules.LATE_S)]
                await asyncio.to_thread(writer.add, msgspec.structs.replace(page, records=alive))
                progress("saving sessions", writer.totals.sessions, header.expected)
                page = await anext(pages, None)
            totals = await asyncio.to_thread(writer.end)
        return msgspec.structs.replace(header, expected=totals.sessions)

    async def _pages(self, file: BinaryIO, name: str) -> AsyncIterator[DumpPage]:
        reader = await asyncio.to_thread(reading, file, f"snapshot {name}", self._codec)
        async for page in pages_of(reader):
            yield page

    @asynccontextmanager
    async def _opened(self, name: str) -> AsyncIterator[BinaryIO]:
        path = self._path(rules.checked_name(name))
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError as error:
            raise self._not_there(name) from error
        except OSError as error:
            raise Misused(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            yield file
        finally:
            await asyncio.to_thread(file.close)

    @asynccontextmanager
    async def _opened_or_now(self, name: str | None) -> AsyncIterator[BinaryIO]:
        if name is not None:
            async with self._opened(name) as file:
                yield file
            return
        try:
            now = cast(BinaryIO, await asyncio.to_thread(partial(tempfile.TemporaryFile, dir=self._folder)))
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be written: {error.strerror or error}") from error
        try:
            await self._write(now.write, "now", None, no_progress)
            yield now
        except OSError as error:
            raise Unavailable(f"{self._folder} has no room to compare in: {error.strerror or error}") from error
        finally:
            await asyncio.to_thread(now.close)

    def _list(self) -> Infos:
        if not self._folder.is_dir():
            if self._folder.exists():
                raise Misused(f"{self._folder} is no folder; name the one where snapshots are")
            return []
        paths = [path for path in self._folder.iterdir() if path.suffix == SUFFIX and path.is_file()]
        found = [_info(path) for path in sorted(paths)[:_LISTED_MAX]]
        return sorted(found, key=lambda info: info.taken_at)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _not_there(self, name: str) -> NotFound:
        return NotFound(f"there is no snapshot {name} in {self._folder}; see `holdfast snapshot list`")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(0o700, exist_ok=True)
    except OSError as error:
        raise Misused(f"{folder} cannot be made: {error.strerror or error}; choose another folder") from error


def _info(path: Path) -> SnapshotInfo:
    try:
        with path.open("rb") as file:
            header = ArchiveReader(file.read, path.name).header
            size_bytes = file.seek(0, 2)
            file.seek(max(size_bytes - TRAILER_BYTES, 0))
            totals = totals_at_end(file.read())
    except Exception as error:  # whatever is wrong with one, the others are listed
        return SnapshotInfo(name=path.stem, damage=str(error))
    if totals is None:
        return SnapshotInfo(
            name=path.stem, taken_at=header.taken_at, size_bytes=size_bytes, damage="its end is damaged"
        )
    return SnapshotInfo(name=path.stem, taken_at=header.taken_at, sessions=totals.sessions, size_bytes=size_bytes)
