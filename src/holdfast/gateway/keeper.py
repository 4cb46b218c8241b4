"""Workers by way of the keeper process, which owns them (`src/holdfast_keeper/`): the client of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

import holdfast_keeper
from holdfast_keeper import wire

from ..model.errors import Unavailable
from ..runtime import shielded
from .contract import Exit
from .keeper_link import Link
from .keeper_worker import KeeperWorker

SOCKET_BYTES: Final = 2**20
START_TRIES_MAX: Final = 3
KEEPER_EXIT_S_MAX: Final = 5.0
WORKERS_EXIT_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """What every worker is started with, and how long its start may take.

    `env` is the whole environment of a worker, to which its session's folder is added. A message larger than
    `frame_bytes_max` ends the worker that wrote it. `start_s_max` covers the keeper's wait for an earlier keeper
    to let go of the data directory. `files_max` is how many files a worker may have open, unless it raises its limit
    itself; by default as many as the keeper. `grace_s` is what workers get when all are stopped at the end.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    frame_bytes_max: int = 10 * 2**20
    files_max: int | None = None
    hello_s_max: float = 5.0
    start_s_max: float = 15.0
    grace_s: float = 2.0


class KeeperWorkers:
    """`Workers` whose processes belong to a keeper; made by `open`.

    When the keeper dies, its workers die and are reported; the next spawn starts another keeper.
    """

    def __init__(self, settings: KeeperSettings, data_dir: Path) -> None:
        self._settings = settings
        self._data_dir = data_dir.absolute()
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._last_number = 0
        self._paused = False
        self._closed = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: KeeperSettings, data_dir: Path) -> AsyncIterator[KeeperWorkers]:
        """Start a keeper on `data_dir` and use it; at the end stop all workers and wait for the keeper to be gone.

        Raises:
            Unavailable: No keeper could be started; the message says why. None is left.
        """
        workers = cls(settings, data_dir)
        await workers._connected()
        try:
            yield workers
        finally:
            bound_s = settings.grace_s + WORKERS_EXIT_S_MAX + 2 * KEEPER_EXIT_S_MAX
            await shielded(workers._close(), within_s=bound_s, name="closing the workers")

    async def ready(self) -> None:
        """Return once a keeper runs, after starting one if there is none.

        Raises:
            Unavailable: None could be started.
        """
        await self._connected()

    async def spawn(
        self, place: Path, *, on_frame: Callable[[bytes], None], on_exit: Callable[[Exit], None]
    ) -> KeeperWorker:
        """See `Workers.spawn`. A cancelled call leaves no worker."""
        link = await self._connected()
        self._last_number = number = self._last_number + 1
        worker = KeeperWorker(link, number, on_frame, on_exit)
        link.add(number, worker)
        link.send(wire.SPAWN, number, self._order(place))
        try:
            async with asyncio.timeout(self._settings.start_s_max):
                await worker.started()
        except TimeoutError as error:
            worker.disown()
            raise Unavailable(
                f"the worker did not start within {self._settings.start_s_max:g} s; is the machine overloaded?"
            ) from error
        except asyncio.CancelledError:
            worker.disown()
            raise
        return worker

    def _order(self, place: Path) -> bytes:
        settings = self._settings
        order = {
            "command": settings.command,
            "place": str(place.absolute()),
            "env": dict(settings.env),
            "frame_bytes_max": settings.frame_bytes_max,
            "files_max": settings.files_max,
        }
        return msgspec.json.encode(order)

    def pause(self) -> None:
        """Take nothing more from any worker until `resume`; they are held up by their full pipes.

        Exits, receipts and starts are not heard of either, so a spawn waits, for its bound at most.
        """
        self._paused = True
        if self._link is not None:
            self._link.pause_reading()

    def resume(self) -> None:
        """Go on after `pause`; nothing was lost meanwhile."""
        self._paused = False
        if self._link is not None:
            self._link.resume_reading()

    # --- the keeper's process

    async def _connected(self) -> Link:
        """Return the link to a keeper that runs, after starting one if there is none.

        Raises:
            Unavailable: None could be started.
        """
        async with self._starting:
            if self._closed:
                raise Unavailable("the server is closing its workers; none is started any more")
            if self._link is not None and self._link.up:
                return self._link
            for left in reversed(range(START_TRIES_MAX)):
                try:
                    self._link = await self._start()
                except Unavailable:
                    if not left:
                        raise
                else:
                    break
            assert self._link is not None
            if self._paused:
                self._link.pause_reading()
            return self._link

    async def _start(self) -> Link:
        await self._bury(KEEPER_EXIT_S_MAX)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"the keeper cannot be started: {error.strerror}") from error
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            try:
                self._process = await self._launch(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        _, link = await asyncio.get_running_loop().create_unix_connection(Link, sock=ours)
        try:
            async with asyncio.timeout(self._settings.hello_s_max):
                await link.greeted()
        except BaseException as error:
            link.close()
            await self._bury(0.0)
            if isinstance(error, TimeoutError):
                raise Unavailable(f"the keeper did not answer within {self._settings.hello_s_max:g} s") from error
            raise
        return link

    async def _launch(self, fd: int) -> asyncio.subprocess.Process:
        if not sys.platform.startswith("linux"):
            raise Unavailable("workers need Linux: the keeper uses its process control")
        null = asyncio.subprocess.DEVNULL
        try:
            # In a session of its own: neither the terminal's signals nor the end of the server are meant for it.
            return await asyncio.create_subprocess_exec(
                sys.executable, "-I", holdfast_keeper.__path__[0], str(fd), str(self._data_dir),
                stdin=null, stdout=null, stderr=null, pass_fds=(fd,), start_new_session=True, cwd="/",
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"the keeper could not be started: {error}") from error

    async def _bury(self, wait_s: float) -> None:
        """Wait for the keeper's process to end, then kill it; nothing happens when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            async with asyncio.timeout(wait_s):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _close(self) -> None:
        """Stop all workers, then the keeper; whatever does not end in time is killed."""
        async with self._starting:
            self._closed = True
        link = self._link
        if link is not None and link.up:
            link.resume_reading()
            workers = [peer for peer in link.peers if isinstance(peer, KeeperWorker)]
            for worker in workers:
                worker.ask_to_stop(self._settings.grace_s)
            if workers:
                await asyncio.wait(
                    [worker.exit_known for worker in workers], timeout=self._settings.grace_s + WORKERS_EXIT_S_MAX
                )
            link.close()
        await self._bury(KEEPER_EXIT_S_MAX)
