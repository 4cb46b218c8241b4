"""The folder of an ordered key-value store: recognised, made, and held by one process at a time.

A file of our own says which engine made the folder, and in which schema: the engines write to any folder they are
pointed at before they find out that it is not theirs.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..model.errors import Corrupt, Misused, Unavailable
from .disk import sync

SCHEMA: Final = 2
MARKER: Final = "holdfast-store"
_NEW: Final = "holdfast-store.new"
_MARKER_BYTES_MAX: Final = 100


def hold(path: Path, kind: str) -> int:
    """Return a descriptor that holds the folder at `path` for this process until it is closed. Blocks.

    The folder is made, for its owner only, if it is not there, and made ours if it is empty.

    Raises:
        Misused: It is a file, or a folder of something else, of another engine or a newer version, or not permitted.
            Nothing was changed.
        Unavailable: Another process has it open, or this one has. Nothing was changed.
        Corrupt: Its marker is damaged. Nothing was changed.
    """
    try:
        _make(path, kind)
        held = os.open(path / MARKER, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Misused(f"{path} cannot be opened: {error.strerror or error}; check folder and permissions") from error
    try:
        _check(os.pread(held, _MARKER_BYTES_MAX, 0), path, kind)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_in_place(held, path)
    except (BlockingIOError, FileNotFoundError) as error:
        os.close(held)
        raise in_use(path, kind) from error
    except BaseException:
        os.close(held)
        raise
    return held


def in_use(path: Path, kind: str) -> Unavailable:
    """Return the error for a folder that is open already."""
    return Unavailable(
        f"{path} is open already: a {kind} store belongs to one process at a time; stop that one, choose another "
        "folder, or use sqlite, which several may share"
    )


def _make(path: Path, kind: str) -> None:
    with suppress(FileExistsError):
        path.mkdir(0o700)
    if not path.is_dir():
        raise Misused(f"{path} is a file, and a {kind} store is a folder; choose another path")
    names = set(os.listdir(path))  # noqa: PTH208  # names are all that is wanted
    if MARKER in names:
        return
    if names - {_NEW}:
        raise Misused(f"{path} is a folder of something else than Holdfast; choose another folder")
    path.chmod(0o700)  # sessions are secrets
    new = path / _NEW
    with new.open("wb") as file:
        file.write(_marker(kind))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileNotFoundError):  # another process was first
        new.rename(path / MARKER)
    sync(path)


def _check_in_place(held: int, path: Path) -> None:
    """Raise FileNotFoundError if another folder took the place of the one that is held: it was being restored."""
    if not os.path.samestat(os.fstat(held), (path / MARKER).stat()):
        raise FileNotFoundError(path)


def schema_in(held: int) -> int:
    """Return the schema of a folder that is held."""
    return int(os.pread(held, _MARKER_BYTES_MAX, 0).split()[3])


def bring_up(held: int, kind: str) -> None:
    """Have the marker say that an earlier version cannot read what this one writes."""
    marker = _marker(kind)
    if os.pread(held, _MARKER_BYTES_MAX, 0) != marker:
        os.pwrite(held, marker, 0)  # which changes one byte
        os.fsync(held)


def _marker(kind: str) -> bytes:
    return f"holdfast {kind} schema {SCHEMA}\n".encode()


def _check(marker: bytes, path: Path, kind: str) -> None:
    words = marker.decode(errors="replace").split()
    if len(words) != 4 or words[::2] != ["holdfast", "schema"] or not words[3].isdecimal():
        raise Corrupt(f"{path / MARKER} is damaged; it should read: holdfast {kind} schema {SCHEMA}")
    if words[1] != kind:
        raise Misused(f"{path} is a store of {words[1]}, not of {kind}; open it as {words[1]}:///...")
    if int(words[3]) > SCHEMA:
        raise Misused(
            f"{path} was written by a newer Holdfast (schema {words[3]}, this one knows {SCHEMA}); "
            "upgrade Holdfast or choose another folder"
        )
