"""One worker as the server sees it: a number on the link to the keeper."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast_keeper import wire

from ..model.errors import Unavailable
from .contract import Exit
from .keeper_link import Link

LARGE_BYTES: Final = 2**16
UNACCEPTED_BYTES_MAX: Final = 2**20


class _Said(msgspec.Struct):
    """What STARTED and FAILED tell."""

    pid: int = 0
    error: str = ""


class KeeperWorker:
    """A `Worker` that lives in the keeper."""

    def __init__(
        self, link: Link, number: int, on_frame: Callable[[bytes], None], on_exit: Callable[[Exit], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._link = link
        self._number = number
        self._on_exit = on_exit
        self._full = False
        self._receipts: deque[tuple[int, asyncio.Future[None] | None]] = deque()
        self._unaccepted_bytes = 0
        self._started: asyncio.Future[int] = loop.create_future()
        self._exited: asyncio.Future[Exit] = loop.create_future()
        self.frame = on_frame
        self.pid = 0

    @property
    def full(self) -> bool:
        too_much = self._unaccepted_bytes > UNACCEPTED_BYTES_MAX and len(self._receipts) > 1
        return self._full or too_much or self._link.full

    @property
    def jammed(self) -> bool:
        return self._link.full

    def send(self, frame: bytes, *, first: bool = False) -> None:
        """See `Worker.send`."""
        if not self._exited.done():
            if len(frame) >= LARGE_BYTES:  # a few of them must not be under way before the keeper says that it is full
                self._send_for_receipt(frame, first, None)
            else:
                self._link.send(wire.FRAME + wire.FIRST if first else wire.FRAME, self._number, frame)

    async def deliver(self, frame: bytes, *, first: bool = False) -> None:
        """See `Worker.deliver`. A caller that is cancelled cannot tell whether it was accepted."""
        if self._exited.done():
            raise Unavailable(f"the worker ended before it got the message: {self._exited.result().why}")
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send_for_receipt(frame, first, receipt)
        await receipt

    def _send_for_receipt(self, frame: bytes, first: bool, receipt: asyncio.Future[None] | None) -> None:
        self._link.send(wire.FRAME_RECEIPT + wire.FIRST if first else wire.FRAME_RECEIPT, self._number, frame)
        self._receipts.append((len(frame), receipt))
        self._unaccepted_bytes += len(frame)

    async def stop(self, *, grace_s: float) -> None:
        """See `Worker.stop`. A second stop with less grace hastens the first."""
        if not self._exited.done():
            self.ask_to_stop(grace_s)
            await asyncio.shield(self._exited)

    def ask_to_stop(self, grace_s: float) -> None:
        """Begin what `stop` does, without waiting."""
        self._link.send(wire.STOP, self._number, msgspec.json.encode({"grace_s": grace_s}))

    async def started(self) -> None:
        """Return once its process runs.

        Raises:
            Unavailable: It could not be started.
        """
        self.pid = await self._started

    @property
    def exit_known(self) -> asyncio.Future[Exit]:
        """How it ended, once nothing of it is left."""
        return self._exited

    def disown(self) -> None:
        """Have no more callbacks, and end what may have been started."""
        self.frame = _ignore
        self._on_exit = _ignore
        self.ask_to_stop(0.0)

    # --- called by the link

    def told(self, kind: int, payload: bytes) -> None:
        """Take a message about this worker."""
        if kind == wire.ACCEPTED:
            size_bytes, receipt = self._receipts.popleft()
            self._unaccepted_bytes -= size_bytes
            if receipt is not None and not receipt.done():
                receipt.set_result(None)
        elif kind in (wire.FULL, wire.READY):
            self._full = kind == wire.FULL
        elif kind == wire.EXITED:
            self._ended(msgspec.json.decode(payload, type=Exit))
        elif kind == wire.STARTED and not self._started.done():
            self._started.set_result(msgspec.json.decode(payload, type=_Said).pid)
        elif kind == wire.FAILED:
            self._never_started(msgspec.json.decode(payload, type=_Said).error)

    def lost(self, why: str) -> None:
        """Take note that the keeper ended and killed the worker by that."""
        if self._started.done():
            self._ended(Exit(None, None, why))
        else:
            self._never_started(why)

    def _never_started(self, why: str) -> None:
        self._link.remove(self._number)
        self._exited.set_result(Exit(None, None, why))
        if not self._started.done():
            self._started.set_exception(Unavailable(f"the worker could not be started: {why}"))

    def _ended(self, how: Exit) -> None:
        self._link.remove(self._number)
        self._exited.set_result(how)
        for _, receipt in self._receipts:
            if receipt is not None and not receipt.done():
                receipt.set_exception(Unavailable(f"the worker ended before it got the message: {how.why}"))
        self._receipts.clear()
        self._on_exit(how)


def _ignore(_: object) -> None:
    """Be a callback for nobody."""
