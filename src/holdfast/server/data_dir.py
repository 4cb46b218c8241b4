"""The data directory: made, checked and locked, so that one server at a time uses it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..model import Misused

FORMAT: Final = 1


class DataDir:
    """A data directory of this format; `sessions` is the folder of the sessions.

    The lock is the kernel's (flock(2)): it goes with the process, however that ends.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.sessions = path / "sessions"
        self._lock = lock

    def lock(self) -> bool:
        """Lock it for this process, and see to its format; return whether no other process has locked it.

        Raises:
            Misused: It cannot be written, or is of a newer format.
        """
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            _sign(self._lock)
            self._see_to_format()
        except OSError as error:
            raise _unusable(self.path, error) from error
        return True

    def lock_when_free(self) -> None:
        """Lock it as soon as the process that has it ends, before anybody who asks later; return at once.

        Raises:
            Misused: It is of a newer format.
        """
        self._see_to_format()
        # On a descriptor of its own, which is open until this process ends, for nobody can be called back from waiting.
        lock = os.dup(self._lock)

        def wait() -> None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _sign(lock)

        threading.Thread(target=wait, name="wait for the data directory", daemon=True).start()

    def _see_to_format(self) -> None:
        _check_format(self.path)
        self.sessions.mkdir(mode=0o700, exist_ok=True)

    @property
    def user(self) -> str:
        """The pid of the process that has locked it, as far as is known."""
        return os.pread(self._lock, 200, 0).decode(errors="replace").strip() or "unknown"


@contextmanager
def opened_data_dir(path: Path) -> Iterator[DataDir]:
    """Make a folder at `path` if there is none, and yield it as a data directory; at the end it is not locked any more.

    Raises:
        Misused: It cannot be made, or holds something else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / "server.lock").exists() and any(path.iterdir()):
            raise Misused(f"{path} holds something else than a server's data; choose an empty or new --data")
        lock = os.open(path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield DataDir(path, lock)
    finally:
        os.close(lock)


def _sign(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


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
