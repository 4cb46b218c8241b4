"""Builds a store beside another one and puts it in its place: the old one, or the new one, and never a mix of both."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ..model.errors import Conflict, Misused, Unavailable
from ..model.session import Record
from .address import file_of, names_a_place, split_address

_TRIES: Final = 10_000


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """The store that is there: how many sessions it has, and the last term it gave out.

    `damage` is why it cannot be read, "" when it can; then the rest is 0.
    """

    sessions: int = 0
    term: int = 0
    damage: str = ""


class Replacement(Protocol):
    """One store to be put in the place of another, or where there is none. Blocks; ended by `close`.

    `begin` comes first; then the store at `new_url` is made and closed; then `exchange` is called, or not.
    """

    @property
    def new_url(self) -> str:
        """The address at which the new store is made."""
        ...

    def begin(self) -> Old:
        """Keep other processes from opening the store that is there, and say what it is.

        Raises:
            Conflict: A process has it open, or this is being done already. Nothing was changed.
            Misused: There can be no store, it is something else, or of a newer version. Nothing was changed.
            Unavailable: The disk is full, or does not work. Nothing was changed.
        """
        ...

    def alive(self, records: Sequence[Record], now: float) -> set[str]:
        """Return the ids of those sessions that the old store has still, neither terminated nor due at `now`.

        Raises:
            Corrupt: It cannot be read.
        """
        ...

    def exchange(self) -> str:
        """Put the new store in its place, on power-safe storage; return where the old one is now, "" without sessions.

        Killed at any moment, it leaves the one or the other.

        Raises:
            Conflict: A process has opened the old one meanwhile. Nothing was changed.
            Unavailable: The disk does not do it. Nothing was changed.
        """
        ...

    def close(self) -> None:
        """Let go of the old store, and take away what is left of the work."""
        ...


class Workshop:
    """The folder `NAME.restore` beside a store, which one process has at a time; what another left there is gone."""

    def __init__(self, place: Path) -> None:
        self.folder = place.with_name(place.name + ".restore")
        self._place = place
        self._lock = -1

    def open(self) -> None:
        """Make the folder, or take it over.

        Raises:
            Conflict: Another process has it.
            Misused: Its place cannot be written, or is taken by something else.
        """
        try:
            self.folder.mkdir(0o700, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise Conflict(f"{self._place} is being restored already; wait for that") from error
        except OSError as error:
            self._release()
            raise Misused(
                f"{self.folder} cannot be made: {error.strerror or error}; look at the folder and its permissions"
            ) from error
        for left in self.folder.iterdir():
            if left.name != "lock":
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def close(self) -> None:
        """Take the folder away."""
        if self._lock >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._release()

    def name_to_keep(self) -> Path:
        """Return the first free name for what was there."""
        for number in range(1, _TRIES):
            kept = self._place.with_name(f"{self._place.name}.replaced-{number}")
            if not os.path.lexists(kept):
                return kept
        raise Unavailable(f"{_TRIES} stores that were replaced lie beside {self._place}; remove some")

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def replacement_of(url: str) -> Replacement:
    """Return what replaces the store at `url`; nothing is looked at yet.

    Raises:
        Misused: The address is not understood, or such stores are kept in no file.
    """
    parts = split_address(url)
    if names_a_place(parts):
        # Imported late, like the stores themselves.
        if parts.scheme == "sqlite":
            from .sqlite_address import place_of
            from .sqlite_replace import SqliteReplacement

            return SqliteReplacement(place_of(parts.path, parts.query)[0])
        if not parts.query:
            from .ordered_replace import OrderedReplacement

            return OrderedReplacement(parts.scheme, file_of(url))
    raise Misused(f"{url!r} names no store in a file; use sqlite:///path, leveldb:///path or rocksdb:///path")
