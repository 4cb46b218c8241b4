"""One keeper at a time on a data directory."""

from __future__ import annotations

import fcntl
import os
import signal

from .processes import everyone, look, marker, send_signal
from .wire import MARKER

TOKEN_BYTES_MAX = 64


class Lock:
    """Holds `keeper.lock` of a data directory until this process ends.

    The file names the token of the keeper that holds it. A keeper that was killed left it there, so that its
    successor can find and end what that one could not.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, directory: str, token: str) -> None:
        self.path = f"{directory}/keeper.lock"
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OSError(f"{self.path} cannot be opened: {error.strerror}") from error
        self._token = token
        self._predecessor: str | None = None
        self.held = False

    def take(self) -> bool:
        """Try once to get the lock and to end what a killed predecessor left; return whether both are done."""
        if self.held:
            return True
        if self._predecessor is None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._predecessor = os.pread(self._file, TOKEN_BYTES_MAX, 0).decode("ascii", "replace").strip()
        if self._predecessor and _end_all_of(self._predecessor):
            return False
        self._write(self._token)
        self.held = True
        return True

    def forget(self) -> None:
        """Note that nothing of this keeper is left for a successor to end."""
        if self.held:
            self._write("")

    def _write(self, token: str) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, token.encode(), 0)


def _end_all_of(token: str) -> int:
    """Kill every process that carries a marker of this keeper's; return how many there were."""
    found = 0
    for pid in everyone():
        seen = look(pid)
        # A zombie shows no environment, so whoever shows one is alive.
        if seen is not None and marker(pid, MARKER).startswith(token + "-"):
            send_signal(seen.process, signal.SIGKILL)
            found += 1
    return found
