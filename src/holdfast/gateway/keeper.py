"""Workers by way of the keeper process, which owns them (`src/holdfast_keeper/`): the client of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from holdfast_keeper import wire

from ..model.errors import HoldfastError, Unavailable
from ..runtime import shielded, spawn
from .contract import Exit, Hear, Inventory
from .keeper_link import Link
from .keeper_process import SOCKET_BYTES, ends, killed, launched, reaped
from .keeper_socket import connect_to_keeper, peer_of
from .keeper_worker import KeeperWorker

_log = logging.getLogger(__name__)

START_TRIES_MAX: Final = 3
KEEPER_EXIT_S_MAX: Final = 5.0
WORKERS_EXIT_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """What every worker is started with, and how long its start may take.

    `keep_s` is how long workers live on when the server is gone, 0 to end with it; `at_end` is what becomes of them
    when the server stops: "end", or "keep" for the next one. `attach_s_max` is how long another server may take to let
    one go.
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
    attach_s_max: float = 15.0
    grace_s: float = 2.0
    keep_s: float = 0.0
    at_end: str = "end"


class KeeperWorkers:
    """`Workers` whose processes belong to a keeper; made by `open`.

    When the keeper dies, its workers die and are reported; the next spawn starts another keeper. `term` is that of this
    server: the keeper refuses one with a lower term than it has seen, and `superseded` is set then: for good.
    """

    def __init__(self, settings: KeeperSettings, data_dir: Path, term: int) -> None:
        self._settings = settings
        self._data_dir = data_dir.absolute()
        self._term = term
        self._link: Link | None = None
        self._launched = 0
        self._keeper_pid = 0
        self._starting = asyncio.Lock()
        self._orphans: asyncio.Queue[str] = asyncio.Queue()  # bounded by the workers there are
        self._last_number = 0
        self._keeps = settings.at_end == "keep"
        self._paused = False
        self._closed = False
        self.superseded = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: KeeperSettings, data_dir: Path, term: int = 0) -> AsyncIterator[KeeperWorkers]:
        """Use the keeper of `data_dir`, after starting one if there is none.

        At the end all workers are stopped and the keeper is gone, unless they are to be kept.

        Raises:
            Unavailable: No keeper could be used; the message says why. None that was started is left.
        """
        workers = cls(settings, data_dir, term)
        await workers._connected()
        try:
            yield workers
        finally:
            bound_s = settings.grace_s + WORKERS_EXIT_S_MAX + 4 * KEEPER_EXIT_S_MAX
            await shielded(workers._close(), within_s=bound_s, name="closing the workers")

    async def ready(self) -> None:
        """Return once a keeper runs, after starting one if there is none.

        Raises:
            Unavailable: None could be started.
        """
        await self._connected()

    async def spawn(self, label: str, place: Path, *, on_frame: Hear, on_exit: Callable[[Exit], None]) -> KeeperWorker:
        """See `Workers.spawn`. A cancelled call leaves no worker."""
        link, number, worker = await self._numbered(on_frame, on_exit)
        link.send(wire.SPAWN, number, self._order(label, place))
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

    async def attach(
        self, label: str, *, on_frame: Hear, on_exit: Callable[[Exit], None]
    ) -> tuple[KeeperWorker, Inventory] | None:
        """See `Workers.attach`. A cancelled call leaves the worker to whoever has it, or comes."""
        link, number, worker = await self._numbered(on_frame, on_exit)
        link.send(wire.ATTACH, number, msgspec.json.encode({"label": label}))
        try:
            async with asyncio.timeout(self._settings.attach_s_max):
                inventory = await worker.attached()
        except TimeoutError as error:
            worker.give_up()
            late = f"another server has not let go of this session within {self._settings.attach_s_max:g} s"
            raise Unavailable(late) from error
        except asyncio.CancelledError:
            worker.give_up()
            raise
        return None if inventory is None else (worker, inventory)

    async def clear(self, label: str) -> None:
        """See `Workers.clear`."""
        found = await self.attach(label, on_frame=_pass_over, on_exit=_pass_over)
        if found is not None:
            worker, _ = found
            worker.disown()
            async with asyncio.timeout(WORKERS_EXIT_S_MAX):
                await asyncio.shield(worker.exit_known)

    async def orphan(self) -> str:
        """See `Workers.orphan`."""
        return await self._orphans.get()

    def keep(self) -> None:
        """Leave all workers to the next server when this one closes."""
        self._keeps = True

    async def _numbered(self, on_frame: Hear, on_exit: Callable[[Exit], None]) -> tuple[Link, int, KeeperWorker]:
        link = await self._connected()
        self._last_number = number = self._last_number + 1
        worker = KeeperWorker(link, number, on_frame, on_exit)
        link.add(number, worker)
        return link, number, worker

    def _order(self, label: str, place: Path) -> bytes:
        settings = self._settings
        order = {
            "label": label,
            "command": settings.command,
            "place": str(place.absolute()),
            "env": dict(settings.env),
            "frame_bytes_max": settings.frame_bytes_max,
            "files_max": settings.files_max,
            "keep_s": settings.keep_s,
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

    async def _connected(self, *, start: bool = True) -> Link:
        """Return the link to a keeper that runs, after starting one if there is none, unless that is not wanted.

        Raises:
            Unavailable: None is there, or could be started, or a newer server has taken this one's place.
        """
        async with self._starting:
            if self._closed:
                raise Unavailable("the server is closing its workers; none is started any more")
            if self._link is not None and self._link.up:
                return self._link
            for left in reversed(range(START_TRIES_MAX)):
                try:
                    self._link = await self._start(may_launch=start)
                except Unavailable as error:
                    if not (left and start) or self.superseded.is_set():
                        raise
                    if left == 1 and isinstance(error, _Hangs):  # and with it every session, until somebody ends it
                        _log.error("%s, %d times; it is ended, and its workers with it", error, START_TRIES_MAX - 1)
                        await killed(error.pid)
                else:
                    break
            assert self._link is not None
            if self._paused:
                self._link.pause_reading()
            return self._link

    def _lost(self, link: Link) -> None:
        if self._closed:
            link.bury()
        else:
            spawn(self._bury(link), name="look what became of the keeper")

    async def _bury(self, link: Link) -> None:
        """Tell the workers of a link that they ended, unless a newer server has them now."""
        with contextlib.suppress(HoldfastError):
            await self._connected(start=False)
        if self.superseded.is_set():
            link.abandon()
        else:
            link.bury()

    async def _start(self, *, may_launch: bool) -> Link:
        """Connect to the keeper that is there, or to one that is started for it."""
        self._reap()
        ours = await asyncio.to_thread(connect_to_keeper, self._data_dir)
        found_pid = 0 if ours is None else peer_of(ours)
        if ours is None and not may_launch:
            raise Unavailable("the keeper ended")
        if ours is None:
            ours, self._launched = await launched(self._data_dir)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        _, link = await asyncio.get_running_loop().create_unix_connection(
            lambda: Link(self._term, self._orphans.put_nowait, self._lost), sock=ours
        )
        try:
            async with asyncio.timeout(self._settings.hello_s_max):
                await link.greeted()
        except BaseException as error:
            link.close()
            if not found_pid:  # it has no workers
                await killed(self._launched)
                self._reap()
            if link.superseded:
                self.superseded.set()
            if isinstance(error, TimeoutError):
                why = f"the keeper did not answer within {self._settings.hello_s_max:g} s"
                raise (_Hangs(why, found_pid) if found_pid else Unavailable(why)) from error
            raise
        self._keeper_pid = found_pid or self._launched
        return link

    def _reap(self) -> None:
        """Let the system forget the keeper that was started here if it has ended."""
        if self._launched and reaped(self._launched):
            self._launched = 0

    async def _close(self) -> None:
        """Stop all workers, then the keeper, unless they are to be kept; whatever does not end in time is killed."""
        async with self._starting:
            self._closed = True
        link = self._link
        if link is None or not link.up or self._keeps:
            if link is not None:
                link.close()
            return
        link.resume_reading()
        await self._end_workers(link)
        link.close()
        if self._keeper_pid and not await ends(self._keeper_pid, KEEPER_EXIT_S_MAX) and not await self._is_needed():
            await killed(self._keeper_pid)
        self._reap()

    async def _is_needed(self) -> bool:
        """Return whether a keeper that has not ended goes on for another server; else it hangs."""
        try:
            link = await self._start(may_launch=False)
        except _Hangs:
            return False
        except HoldfastError:
            return True
        link.close()
        return True

    async def _end_workers(self, link: Link) -> None:
        """End every worker, those too that no server has come for, and wait for ours to be gone."""
        link.send(wire.STOP, 0, msgspec.json.encode({"grace_s": self._settings.grace_s}))
        workers = [peer for peer in link.peers if isinstance(peer, KeeperWorker)]
        if workers:
            within_s = self._settings.grace_s + WORKERS_EXIT_S_MAX
            await asyncio.wait([worker.exit_known for worker in workers], timeout=within_s)


class _Hangs(Unavailable):
    """A keeper takes connections and says nothing."""

    def __init__(self, why: str, pid: int) -> None:
        super().__init__(why)
        self.pid = pid


def _pass_over(*_: object) -> None:
    """Be a callback for nobody."""
