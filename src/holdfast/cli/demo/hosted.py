"""`holdfast serve` as a process that the demo may kill and start again."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ...config.surroundings import environment_without_options
from ...model import Misused, Unavailable

STARTS_WITHIN_S: Final = 30.0
ENDS_WITHIN_S: Final = 20.0
LOOK_EVERY_S: Final = 0.02
LOG_BYTES_SHOWN: Final = 2000


def is_gone(pid: int) -> bool:
    """Return whether no process has this id."""
    return not Path(f"/proc/{pid}").exists()


class Hosted:
    """One data directory below `folder`, and the server process that serves it now.

    The first start takes a free port, every later one the same.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.url = ""
        self._data = folder / "data"
        self._log = folder / "server.log"
        self._command = command
        self._process: Process | None = None

    async def start(self) -> int:
        """Start the server and return its process id once it listens.

        Raises:
            Misused: It says that something must be changed first.
            Unavailable: It ended, or did not listen within `STARTS_WITHIN_S` seconds.
        """
        port = urlsplit(self.url).port or 0
        words = ["serve", "--host", "127.0.0.1", "--port", str(port), "--data", str(self._data), "--", *self._command]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "holdfast", *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=log,
                env=environment_without_options(),
                start_new_session=True,  # a Ctrl-C at the terminal is the demo's; it ends the server itself
            )
        try:
            async with asyncio.timeout(STARTS_WITHIN_S):
                self.url = await self._listening(self._process)
        except TimeoutError as error:
            raise Unavailable(f"the server does not listen after {STARTS_WITHIN_S:g} s") from error
        return self._process.pid

    async def kill(self) -> int:
        """End the server as a crash would; return its exit code, which is the signal's number below 0."""
        return await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the server to stop; return its exit code."""
        return await self._end(signal.SIGTERM)

    async def nothing_left(self) -> bool:
        """Return whether all that the servers started has ended, waiting for it at most `ENDS_WITHIN_S` seconds.

        A keeper holds a lock in the data directory until its last descendant is gone (docs/keeper.md).
        """
        path = self._data / "keeper.lock"
        if not path.exists():
            return True
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(int(ENDS_WITHIN_S / LOOK_EVERY_S)):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(LOOK_EVERY_S)
                else:
                    return True
            return False
        finally:
            os.close(lock)

    async def clean_up(self) -> None:
        """Kill the server if it runs, and wait until nothing of it is left."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        await self.nothing_left()

    async def _listening(self, process: Process) -> str:
        """Read what the server says until it listens; return the address of its endpoint."""
        assert process.stdout is not None
        url = ""
        while line := (await process.stdout.readline()).decode():
            label, _, rest = line.strip().partition("  ")
            if label == "connect to":
                url = rest.split()[0]
            elif label == "stop with":
                return url
        code = await process.wait()
        words = self._log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace").strip().splitlines()
        last = words[-1].removeprefix("holdfast: ") if words else f"exit code {code}"
        if code == 2:
            raise Misused(last)
        raise Unavailable(f"the server ended before it listened: {last}")

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        assert process is not None
        if process.returncode is None:
            # Not `process.send_signal`: that would reap a process that has just ended, and its exit code be lost.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        async with asyncio.timeout(ENDS_WITHIN_S):
            return await process.wait()
