"""Keepers of earlier versions, as archives beside this file.

`python -m tests.keeper.frozen` writes the one of the version that is spoken now, the same bytes for the same sources.
It is written anew as long as that version is in no release, and left alone from then on.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import holdfast_keeper
from holdfast_keeper import wire

HERE: Final = Path(__file__).parent
ANSWERS_WITHIN_S: Final = 60.0
ARCHIVES: Final = sorted(HERE.glob("keeper_v*.zip"))


def archive_of(version: int) -> Path:
    """Return where the keeper of this version of the protocol is kept."""
    return HERE / f"keeper_v{version}.zip"


def freeze(target: Path) -> None:
    """Write the keeper of these sources: names in order, no times, nothing compressed."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(Path(holdfast_keeper.__path__[0]).glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"holdfast_keeper/{path.name}"), path.read_bytes())


class Frozen:
    """A keeper of an archive that runs, and the connection of whoever started it, which is no server to speak of."""

    def __init__(self, process: subprocess.Popen[bytes], first: socket.socket) -> None:
        self.process = process
        self._first = first

    @property
    def pid(self) -> int:
        return self.process.pid

    def leave(self) -> None:
        """End that connection: from now on the keeper runs for those that found it by themselves."""
        self._first.close()


@contextlib.contextmanager
def frozen(archive: Path, place: Path, data: Path) -> Iterator[Frozen]:
    """Unpack a keeper into `place` and start it on a data directory; at the end it is killed if it still runs."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(place)
    ours, theirs = socket.socketpair()
    ours.settimeout(ANSWERS_WITHIN_S)
    with ours, theirs:
        command = [sys.executable, "-I", str(place / "holdfast_keeper"), str(theirs.fileno()), str(data)]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
            try:
                theirs.close()
                version = int(archive.stem.removeprefix("keeper_v"))
                hello = b'{"versions": [%d], "role": "server", "term": 0, "pid": 1}' % version
                ours.sendall(wire.message(wire.HELLO, 0, hello))
                assert ours.recv(4096), "it says HELLO once its socket is there"
                yield Frozen(process, ours)
            finally:
                process.kill()


if __name__ == "__main__":
    freeze(archive_of(wire.VERSION))
