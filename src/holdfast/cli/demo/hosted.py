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


def parent_of(pid: int) -> int:
    """Return the parent of a process: of a worker, the keeper.

    Raises:
        Unavailable: There is no such process.
    """
    try:
        # What is in brackets may hold anything; see proc(5).
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError as error:
        raise Unavailable(f"the process {pid} has ended by itself") from error


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
        self._replaced: Process | None = None

    async def start(self, *, replace: bool = False) -> int:
        """Start a server and return its process id once it listens; with `replace` it takes over from the one there.

        Raises:
            Misused: It says that something must be changed first.
            Unavailable: It ended, or did not listen within `STARTS_WITHIN_S` seconds.
        """
        port = urlsplit(self.url).port or 0
        words = ["serve", "--host", "127.0.0.1", "--port", str(port), "--data", str(self._data)]
        words += [*(["--replace"] if replace else []), "--", *self._command]
        if replace:
            self._replaced = self._process
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
        return await self._end(self._process, signal.SIGKILL)

    async def crash(self, keeper: int) -> int:
        """End the server and its keeper as a crash of the machine would; return the server's exit code."""
        assert self._process is not None
        for pid in (self._process.pid, keeper):
            _signal(pid, signal.SIGKILL)
        return await self._end(self._process, signal.SIGKILL)

    async def replaced(self) -> int:
        """Return the exit code of the server that was replaced, once it has ended by itself.

        Raises:
            TimeoutError: It did not within `ENDS_WITHIN_S` seconds.
        """
        assert self._replaced is not None
        async with asyncio.timeout(ENDS_WITHIN_S):
            return await self._replaced.wait()

    async def stop(self) -> int:
        """Ask the server to stop; return its exit code."""
        return await self._end(self._process, signal.SIGTERM)

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
        """Kill the servers that run, end their keeper, and wait until nothing of it is left."""
        for process in (self._replaced, self._process):
            if process is not None and process.returncode is None:
                await self._end(process, signal.SIGKILL)
        if self._process is not None:
            await self._stop_keeper()
        await self.nothing_left()

    async def _stop_keeper(self) -> None:
        """End the keeper, which outlives a server that was killed; one that does not listen is told in the log."""
        words = ("keeper", "stop", "--data", str(self._data))
        null = asyncio.subprocess.DEVNULL
        env = environment_without_options()
        with self._log.open("ab") as log:
            command = (sys.executable, "-m", "holdfast", *words)
            process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=log, stderr=log, env=env)
            await process.wait()

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

    async def _end(self, process: Process | None, number: signal.Signals) -> int:
        assert process is not None
        if process.returncode is None:
            # Not `process.send_signal`: that would reap a process that has just ended, and its exit code be lost.
            _signal(process.pid, number)
        async with asyncio.timeout(ENDS_WITHIN_S):
            return await process.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
