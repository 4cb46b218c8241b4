#!/usr/bin/env python3
"""`holdfast serve` with workers on pipes of the server's own and no keeper: what the keeper is measured by.

    keeper_pipes.py serve --port N --data DIR -- COMMAND

The same server in everything else. Its workers die with it, nothing of them is kept, and what a worker starts itself is
left to itself: it does the least that could serve, so that the comparison is not made easy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, cast

from holdfast import wiring
from holdfast.cli.main import main
from holdfast.gateway.contract import Exit, Hear
from holdfast.gateway.keeper import KeeperSettings
from holdfast.model import Unavailable

QUEUE_BYTES_MAX: Final = 2**20


class PipeWorker(asyncio.SubprocessProtocol):
    """One MCP server whose pipes are read and written by this process."""

    def __init__(self, on_frame: Hear, on_exit: Callable[[Exit], None]) -> None:
        self._on_frame = on_frame
        self._number = 0
        self._on_exit = on_exit
        self._part = b""
        self._process: asyncio.SubprocessTransport | None = None
        self._stdin: Any = None
        self._ended = asyncio.Event()

    @property
    def full(self) -> bool:
        """See `Worker.full`."""
        return bool(self._stdin.get_write_buffer_size() > QUEUE_BYTES_MAX)

    jammed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)  # one of uvloop's, which only looks like it
        self._stdin = self._process.get_pipe_transport(0)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != 1:
            return
        *lines, self._part = (self._part + data if self._part else data).split(b"\n")
        for line in lines:
            self._number += 1
            self._on_frame(line, self._number)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._process is not None
        code = self._process.get_returncode() or 0
        self._ended.set()
        self._on_exit(Exit(code if code >= 0 else None, -code if code < 0 else None, f"it ended with {code}"))

    def go(self) -> None:
        """See `Worker.go`; whoever is that quick is heard before."""

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        """See `Worker.send`."""
        self._stdin.write(frame + b"\n")

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        """See `Worker.deliver`; here it only gets as far as the pipe."""
        self.send(frame)

    def done(self, frame: int, call: int = 0) -> None:
        """Nothing was kept."""

    async def confirm(self, stage: int) -> None:
        return

    def reached(self, stage: int) -> None:
        """There is no next server."""

    def release(self) -> None:
        """There is no next server."""

    async def stop(self, *, grace_s: float) -> None:
        """See `Worker.stop`."""
        assert self._process is not None
        self._stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s / 2):
                    await self._ended.wait()
                    return
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
        await self._ended.wait()


class PipeWorkers:
    """`Workers` without a keeper."""

    def __init__(self, settings: KeeperSettings) -> None:
        self._settings = settings
        self._workers: set[PipeWorker] = set()
        self.superseded = asyncio.Event()  # by a newer server at its keeper, which there is not

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: KeeperSettings, data_dir: Path, term: int) -> AsyncIterator[PipeWorkers]:
        """Give them; at the end all are stopped."""
        workers = cls(settings)
        try:
            yield workers
        finally:
            await asyncio.gather(*(worker.stop(grace_s=settings.grace_s) for worker in tuple(workers._workers)))

    async def ready(self) -> None:
        """There is nothing to wait for."""

    def pause(self) -> None:
        """Not done here; the load does not need it."""

    def resume(self) -> None:
        """Not done here."""

    async def attach(self, label: str, *, on_frame: Hear, on_exit: Callable[[Exit], None]) -> None:
        """No worker outlived an earlier server."""

    async def clear(self, label: str) -> None:
        """No worker outlived an earlier server."""

    async def orphan(self) -> str:
        """See `Workers.orphan`; there is none."""
        await asyncio.Event().wait()
        raise AssertionError

    async def spawn(self, label: str, place: Path, *, on_frame: Hear, on_exit: Callable[[Exit], None]) -> PipeWorker:
        """See `Workers.spawn`."""

        def ended(how: Exit) -> None:
            self._workers.discard(worker)
            on_exit(how)

        worker = PipeWorker(on_frame, ended)
        env = {**self._settings.env, "HOLDFAST_SESSION_DIR": str(place)}
        if mark := os.environ.get("HOLDFAST_BENCH"):
            env["HOLDFAST_BENCH"] = mark
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: worker,
                *self._settings.command,
                cwd=place / "work",
                env=env,
                start_new_session=True,
                stderr=None,
            )
        except OSError as error:
            raise Unavailable(f"the worker could not be started: {error}") from error
        self._workers.add(worker)
        return worker


if __name__ == "__main__":
    vars(wiring)["KeeperWorkers"] = PipeWorkers
    sys.exit(main())
