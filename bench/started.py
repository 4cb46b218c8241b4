"""Processes that benchmarks start: made ready, and ended with all they started, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.peers import Peer

READY_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.02
END_WITHIN_S: Final = 15.0
MARK: Final = "HOLDFAST_BENCH"
"""The variable by which a process that outlives its parents is known."""


@dataclass(frozen=True)
class Started:
    """A contestant that listens: `place` is its folder, in which `log` is what it wrote."""

    port: int
    pid: int
    place: Path

    @property
    def url(self) -> str:
        """Where it speaks MCP."""
        return f"http://127.0.0.1:{self.port}/mcp"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(peer: Peer, *, end_within_s: float = END_WITHIN_S) -> Iterator[Started]:
    """Start `peer` on a free port with a fresh data directory; end it with all it started.

    Raises:
        RuntimeError: It does not listen; the message ends with the last it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        port = free_port()
        with (place / "log").open("wb") as log:
            command, env = peer.started_with(port, place), {**os.environ, MARK: folder}
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=env)
        try:
            _wait_until_it_listens(peer, port, process, place / "log")
            yield Started(port, process.pid, place)
        finally:
            end(process, end_within_s)
            end_all_in(folder, within_s=end_within_s)


def _wait_until_it_listens(peer: Peer, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"{peer.name} does not listen: {log.read_text(errors='replace')[-500:]}")


def end(process: subprocess.Popen[Any], within_s: float) -> None:
    """Ask the process to end, then kill its whole group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_all_in(folder: str, *, within_s: float) -> int:
    """Wait for every process that names `folder` in its environment or command to end; kill and count the others."""
    until = time.monotonic() + within_s
    while left := _all_in(folder):
        if time.monotonic() > until:
            print(f"killed {len(left)} processes that did not end", file=sys.stderr)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return len(left)
        time.sleep(LOOK_EVERY_S * 10)
    return 0


def _all_in(folder: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                if folder.encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def leave_on_sigterm() -> None:
    """Let SIGTERM end this program as an exception does, so that what it started is ended too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
