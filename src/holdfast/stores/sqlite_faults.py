"""What keeps a SQLite store from working, and what a person does about it: one sentence for each.

Invariant: an existing file is never opened here. Whoever closes any descriptor of a file gives up every POSIX lock that
this process has on it, those of its other connections too; another process then takes the log from under them
(sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ..model.errors import Corrupt, HoldfastError, Misused, Unavailable

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PLACE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
_NOTHING_WRITTEN: Final = "nothing was written; the store goes on by itself once that is mended"


def code_of(error: BaseException) -> int:
    """Return the primary code of an error of SQLite, 0 of others."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def address_of(path: Path) -> str:
    """Return the address by which `path` is named on a command line."""
    return f"sqlite:///{quote(str(path))}"


def translated(error: Exception) -> Exception:
    """Return what an error of SQLite means to the caller of a store; other errors as they are."""
    if not isinstance(error, sqlite3.Error):
        return error
    meaning: HoldfastError
    code = code_of(error)
    if code in _DAMAGE:
        meaning = Corrupt(f"the database is damaged: {error}; see `holdfast store check`, or restore it from a backup")
    elif code == sqlite3.SQLITE_FULL:
        meaning = Unavailable(f"the disk is full; make room: {_NOTHING_WRITTEN}")
    elif code in _PLACE:
        meaning = Unavailable(f"the database may not be written ({error}); look at its permissions: {_NOTHING_WRITTEN}")
    else:
        meaning = Unavailable(f"the database did not do it: {error}; read before writing")
    meaning.__cause__ = error
    return meaning


def not_opened(path: Path, error: sqlite3.Error) -> HoldfastError:
    """Return why SQLite did not open or make the store at `path`."""
    code = code_of(error)
    if code == sqlite3.SQLITE_NOTADB:
        return Misused(f"{path} is not a SQLite database; choose another file")
    if code == sqlite3.SQLITE_CORRUPT:
        return damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"{path} cannot be opened: the disk is full; make room and open it again")
    if code in _PLACE:
        return Misused(f"{path} cannot be opened: {error}; check the permissions of the file and of its folder")
    return Unavailable(f"{path} cannot be opened: {error}")


def damaged(path: Path, why: str) -> Corrupt:
    """Return the error that says what to run for the damaged file at `path`."""
    url = address_of(path)
    return Corrupt(
        f"{path} is damaged: {why}; run `holdfast store check {url}` to see what is lost, and with no server on it "
        f"`holdfast store repair {url}`"
    )


def repair_folder_of(path: Path) -> Path:
    """Return where the file at `path` is repaired (sqlite_repair.py); nobody may open it while that folder is there."""
    whole = path.resolve()
    return whole.with_name(whole.name + ".repair")


def check_place(path: Path) -> None:
    """Refuse a place where no store can be, before anything touches it.

    Raises:
        Misused: It is no file, the file or its folder may not be written, or it is being repaired. Nothing was made or
            changed.
    """
    _check_not_in_repair(path)
    check_file(path)


def check_file(path: Path) -> None:
    """Refuse the same, but for what is being repaired."""
    try:
        mode: int | None = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise Misused(f"{path} cannot be looked at: {error.strerror}; check the permissions of its folders") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise Misused(f"{path} is a folder; name a file in it")
    if mode is not None and not stat.S_ISREG(mode):
        raise Misused(f"{path} is not a regular file; choose another one")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise Misused(f"{path} cannot be made: its folder {folder} is not there; make it, or choose another one")
    if mode is not None and not os.access(path, os.R_OK | os.W_OK):
        raise Misused(f"{path} may not be read and written by this user; change its permissions or choose another file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Misused(
            f"{folder} may not be written by this user, and SQLite keeps files beside {path.name}; "
            "change its permissions or choose another folder"
        )


def _check_not_in_repair(path: Path) -> None:
    try:
        under_way = repair_folder_of(path).exists()
    except OSError:
        return  # its folder may not be looked at, which is told next
    if under_way:
        raise Misused(
            f"{path} is being repaired, or that was broken off; wait, or run `holdfast store repair {address_of(path)}`"
        )
