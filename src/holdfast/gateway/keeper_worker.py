"""One worker as the server sees it: a number on the link to the keeper."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast_keeper import wire

from ..model.errors import HoldfastError, Moved, Unavailable
from .contract import Exit, Hear, Inventory
from .keeper_link import Link

LARGE_BYTES: Final = 2**16
UNACCEPTED_BYTES_MAX: Final = 2**20
GOES_ON: Final = "the session goes on at another server"


class _Said(msgspec.Struct):
    """What STARTED and FAILED tell."""

    pid: int = 0
    error: str = ""


class KeeperWorker:
    """A `Worker` that lives in the keeper."""

    def __init__(self, link: Link, number: int, on_frame: Hear, on_exit: Callable[[Exit], None]) -> None:
        loop = asyncio.get_running_loop()
        self._link = link
        self._number = number
        self._on_exit = on_exit
        self._full = False
        self._receipts: deque[tuple[int, asyncio.Future[None] | None]] = deque()
        self._unaccepted_bytes = 0
        self._started: asyncio.Future[int] = loop.create_future()
        self._attached: asyncio.Future[Inventory | None] = loop.create_future()
        self._exited: asyncio.Future[Exit] = loop.create_future()
        self._flows = self._disowned = self._moved = False
        self.frame = on_frame
        self.pid = 0

    @property
    def full(self) -> bool:
        too_much = self._unaccepted_bytes > UNACCEPTED_BYTES_MAX and len(self._receipts) > 1
        return self._full or too_much or self._link.full

    @property
    def jammed(self) -> bool:
        return self._link.full

    def go(self) -> None:
        """See `Worker.go`."""
        self._flows = True
        self._link.send(wire.GO, self._number)

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        """See `Worker.send`."""
        if not self._exited.done():
            # a few large ones must not be under way before the keeper says that it is full
            large = len(frame) >= LARGE_BYTES
            self._put(wire.CALL if call else wire.FRAME, frame, first, call, note, receipt=large)
            if large:
                self._await_receipt(frame, None)

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        """See `Worker.deliver`. A caller that is cancelled cannot tell whether it was accepted."""
        if self._exited.done():
            raise self._undelivered()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(wire.FRAME, frame, first, answers, b"", receipt=True)
        if reaches:
            self.reached(reaches)
        self._await_receipt(frame, receipt)
        await receipt

    def _put(self, kind: int, frame: bytes, first: bool, number: int, note: bytes, *, receipt: bool) -> None:
        if first:
            kind |= wire.FIRST
        if receipt:
            kind |= wire.RECEIPT
        if note:
            kind |= wire.NOTED
            frame = b"".join((wire.NOTE_LENGTH.pack(len(note)), note, frame))
        self._link.send(kind, self._number, frame, number)

    def _await_receipt(self, frame: bytes, receipt: asyncio.Future[None] | None) -> None:
        self._receipts.append((len(frame), receipt))
        self._unaccepted_bytes += len(frame)

    def done(self, frame: int, call: int = 0) -> None:
        """See `Worker.done`."""
        self._link.done(self._number, frame, call)

    def reached(self, stage: int) -> None:
        """See `Worker.reached`."""
        self._link.send(wire.STAGE, self._number, b"", stage)

    async def confirm(self, stage: int) -> None:
        """See `Worker.confirm`."""
        if self._exited.done():
            raise self._undelivered()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._link.send(wire.STAGE | wire.RECEIPT, self._number, b"", stage)
        self._await_receipt(b"", receipt)
        await receipt

    def release(self) -> None:
        """See `Worker.release`."""
        if not self._exited.done():
            self._link.send(wire.RELEASE, self._number)
            self._link.remove(self._number)
            self._moved = True
            self._settle(Exit(None, None, GOES_ON))
            self._fail_start(GOES_ON)

    async def stop(self, *, grace_s: float) -> None:
        """See `Worker.stop`. A second stop with less grace hastens the first."""
        if not self._exited.done():
            if not self._flows:  # nobody has heard of what it says, but somebody must of its end
                self.frame = self._pass_over
                self.go()
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

    async def attached(self) -> Inventory | None:
        """Return what it brings along once it is ours; None when it is not there.

        Raises:
            Unavailable: The keeper ended.
        """
        inventory = await self._attached
        if inventory is not None:
            self.pid, self._full = inventory.pid, inventory.full
        return inventory

    @property
    def exit_known(self) -> asyncio.Future[Exit]:
        """How it ended, once nothing of it is left."""
        return self._exited

    def disown(self) -> None:
        """Have no more callbacks, and end what may have been started."""
        self.frame = self._pass_over
        self._on_exit = _ignore
        self._disowned = True
        self.go()
        self.ask_to_stop(0.0)

    def give_up(self) -> None:
        """Leave it where it is, and to whoever comes, should it become ours after all."""
        self._attached.cancel()
        self.release()

    def _pass_over(self, _: bytes, number: int) -> None:
        self.done(number)

    # --- called by the link

    def told(self, kind: int, payload: bytes, number: int) -> None:
        """Take a message about this worker."""
        if kind == wire.ACCEPTED:
            size_bytes, receipt = self._receipts.popleft()
            self._unaccepted_bytes -= size_bytes
            if receipt is not None and not receipt.done():
                receipt.set_result(None)
        elif kind in (wire.FULL, wire.READY):
            self._full = kind == wire.FULL
        elif kind == wire.EXITED:
            how = msgspec.json.decode(payload, type=Exit)
            self._ended(msgspec.structs.replace(how, number=number))
        elif kind == wire.STARTED and not self._started.done():
            self._started.set_result(msgspec.json.decode(payload, type=_Said).pid)
        elif kind == wire.FAILED:
            self._never_started(msgspec.json.decode(payload, type=_Said).error)
        elif kind in (wire.ATTACHED, wire.ABSENT):
            self._found(msgspec.json.decode(payload, type=Inventory) if kind == wire.ATTACHED else None)

    def lost(self, why: str) -> None:
        """Take note that the keeper is gone, for this server at least."""
        if self._started.done() or self._attached.done():
            self._ended(Exit(None, None, why))
        else:
            self._never_started(why)

    def _found(self, inventory: Inventory | None) -> None:
        if inventory is None:
            self._link.remove(self._number)
        if not self._attached.done():
            self._attached.set_result(inventory)

    def _never_started(self, why: str) -> None:
        self._link.remove(self._number)
        self._exited.set_result(Exit(None, None, why))
        self._fail_start(f"the worker could not be started: {why}")

    def _fail_start(self, why: str) -> None:
        failure = Unavailable(why)
        for waiting in (self._started, self._attached):
            if not waiting.done():
                waiting.set_exception(failure)
                waiting.exception()  # at most one of them is waited for

    def _ended(self, how: Exit) -> None:
        self._link.remove(self._number)
        self._settle(how)
        if self._disowned:
            self.done(how.number)
        self._on_exit(how)

    def _settle(self, how: Exit) -> None:
        self._exited.set_result(how)
        for _, receipt in self._receipts:
            if receipt is not None and not receipt.done():
                receipt.set_exception(self._undelivered())
        self._receipts.clear()

    def _undelivered(self) -> HoldfastError:
        if self._moved:
            return Moved(GOES_ON)
        return Unavailable(f"the worker ended before it got the message: {self._exited.result().why}")


def _ignore(_: object) -> None:
    """Be a callback for nobody."""
