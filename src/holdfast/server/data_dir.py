"""The data directory: made, checked and locked, so that one server at a time uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..model import Misused

FORMAT: Final = 1


@contextmanager
def locked_data_dir(path: Path) -> Iterator[Path]:
    """Make `path` a data directory of this format, lock it for this process, and yield the folder of the sessions.

    The lock is the kernel's (flock(2)): it goes with the process, however that ends.

    Raises:
        Misused: It cannot be made or written, is of a newer format, or another server uses it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / "server.lock").exists() and any(path.iterdir()):
            raise Misused(f"{path} holds something else than a server's data; choose an empty or new --data")
        lock = os.open(path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            user = os.pread(lock, 200, 0).decode(errors="replace").strip() or "unknown"
            raise Misused(
                f"the data directory {path} is in use by another server (pid {user}); stop it or choose another --data"
            ) from error
        places = path / "sessions"
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            _check_format(path)
            places.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        yield places
    finally:
        os.close(lock)


def _unusable(path: Path, error: OSError) -> Misused:
    what = f" ({error.filename})" if error.filename else ""
    return Misused(f"the data directory {path} cannot be used: {error.strerror}{what}; choose another --data")


def _check_format(path: Path) -> None:
    marker = path / "format"
    if not marker.exists():
        (path / ".gitignore").write_text("*\n")
        fresh = path / "format.new"  # renamed, so that a half-written one is never taken for the mark
        fresh.write_text(f"{FORMAT}\n")
        fresh.rename(marker)
        return
    text = marker.read_text(errors="replace").strip()
    if text.isdecimal() and int(text) > FORMAT:
        raise Misused(
            f"the data directory {path} was made by a newer version (format {text}, this one reads {FORMAT}); "
            "upgrade holdfast or choose another --data"
        )
    if text != str(FORMAT):
        raise Misused(f"{marker} holds {text!r}, not the format of a data directory; choose another --data")
