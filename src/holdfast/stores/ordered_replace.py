"""Puts a new ordered key-value store in the place of another: two folders change their names at once."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ..codec import PLAIN
from ..model.errors import Conflict, Corrupt, Misused, Unavailable
from ..model.session import Record
from . import leveldb, rocksdb
from . import ordered_keys as keys
from .disk import sync
from .ordered_acts import created_at
from .ordered_engine import Engine
from .ordered_folder import hold
from .ordered_pages import count_states
from .replace import Old, Workshop

DRIVERS: Final[dict[str, Callable[[], Callable[[Path], Engine]]]] = {
    leveldb.KIND: leveldb.driver,
    rocksdb.KIND: rocksdb.driver,
}
_EXCHANGE: Final = 2  # RENAME_EXCHANGE, renameat2(2)
_AT_FDCWD: Final = -100
_LONG_AGO: Final = float("-inf")


class OrderedReplacement:
    """Replaces the folder at `path`: `Replacement`."""

    def __init__(self, kind: str, path: Path) -> None:
        self._kind = kind
        self._path = path.absolute()
        self._workshop = Workshop(self._path)
        self._new = self._workshop.folder / "new"
        self._held = -1
        self._old: Engine | None = None
        self._sessions = 0

    @property
    def new_url(self) -> str:
        return f"{self._kind}:///{quote(str(self._new))}"

    @property
    def old(self) -> Engine | None:
        """The engine of what is there, once `begin` was called; None if nothing is, or it cannot be opened."""
        return self._old

    def copy_of_old(self, salvage: Callable[[Path], None]) -> Path:
        """Return a copy of what is there in which `salvage` has made whole what it can. It is open no more then."""
        self._close_old()
        copy = self._workshop.folder / "copy"
        shutil.copytree(self._path, copy)
        salvage(copy)
        return copy

    def begin(self) -> Old:
        open_engine = DRIVERS[self._kind]()
        if not self._path.parent.is_dir():
            raise Misused(f"{self._path} cannot be made: its folder is not there; make it, or choose another one")
        if self._path.exists() and not self._path.is_dir():
            raise Misused(f"{self._path} is a file, and a {self._kind} store is a folder; choose another path")
        self._workshop.open()
        if not self._is_something():
            return Old()
        try:
            self._held = hold(self._path, self._kind)
        except Unavailable as error:
            raise Conflict(f"a process has {self._path} open; stop the server first, then restore") from error
        try:
            self._old = open_engine(self._path)
            return self._described(self._old)
        except Corrupt as error:
            self._sessions = 1  # nobody knows, so it is kept
            return Old(damage=str(error))

    def _described(self, old: Engine) -> Old:
        term = keys.number_in(old.get(keys.TERM))
        if old.get(keys.LOADING) is None:
            start = keys.SESSION
            while start:
                page = count_states(old, _LONG_AGO, start)
                start = page.next
                self._sessions += page.active + page.terminated
        return Old(sessions=self._sessions, term=term)

    def alive(self, records: Sequence[Record], now: float) -> set[str]:
        return {record.id for record in records if self._is_alive(record, now)}

    def _is_alive(self, record: Record, now: float) -> bool:
        id_bytes = record.id.encode()
        value = None if self._old is None else self._old.get(keys.SESSION + id_bytes)
        if value is None:
            return False
        head = keys.head_of(value, id_bytes)
        # What says only in its record when it was created is of a time before records could be encrypted.
        if created_at((head, keys.sealed_of(value)), record.id, PLAIN) != record.created_at:
            return False
        return head.state_name == "active" and head.deadline > now

    def exchange(self) -> str:
        self._close_old()
        try:
            sync(self._new)
            if self._held < 0:
                self._put_where_none_was()
                return ""
            if not self._sessions:
                _exchange(self._new, self._path)
                sync(self._path.parent)
                return ""
            # Under the name at which the old one is kept, so that the exchange is the last that is done.
            kept = self._workshop.name_to_keep()
            self._new.rename(kept)
            try:
                _exchange(kept, self._path)
            except Unavailable:
                kept.rename(self._new)
                raise
            sync(self._path.parent)
        except OSError as error:
            raise Unavailable(f"{self._path} could not be replaced: {error.strerror or error}") from error
        return str(kept)

    def _put_where_none_was(self) -> None:
        try:
            self._new.rename(self._path)  # which may be an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            why = f"somebody made {self._path} meanwhile; look what it is, and restore again"
            raise Conflict(why) from error
        sync(self._path.parent)

    def close(self) -> None:
        self._close_old()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        self._workshop.close()

    def _is_something(self) -> bool:
        return self._path.is_dir() and any(self._path.iterdir())

    def _close_old(self) -> None:
        if self._old is not None:
            self._old.close()
            self._old = None


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change their names at once.

    Raises:
        Unavailable: This system, or this file system, cannot do that. Nothing was changed.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None or renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        raise Unavailable(
            f"{other} cannot be exchanged at once on this file system ({os.strerror(ctypes.get_errno())}); give the "
            "folder another name, and restore to where nothing is"
        )
