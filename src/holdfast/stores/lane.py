"""A thread that acts for the event loop: what waits is taken together, and its results go back together.

Every return from a blocking call costs the thread a wait for the interpreter's lock while the loop is busy, so what
counts is how few calls a batch needs, not how long each takes. And a busy loop can keep the lock for seconds: it gives
it up and takes it back in every `select`, which the thread is too slow to use, but which starts its 5 ms of patience
(`sys.getswitchinterval`) anew. Therefore the loop, while acts wait, stands aside for a moment every millisecond.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from ..model.errors import Refused, Unavailable

DEADLINE_S: Final = 5.0
WAITING_MAX: Final = 10_000
WAITING_BYTES_MAX: Final = 64 * 2**20
BATCH_MAX: Final = 256

_ASIDE_EVERY_S: Final = 1e-3
_ASIDE_S: Final = 50e-6  # about what it takes to wake a thread on another core


class Act:
    """Something to do, and where its outcome goes. Only the thread writes `result` and `error`."""

    __slots__ = ("bytes", "error", "future", "result")

    def __init__(self, size_bytes: int = 0) -> None:
        self.bytes = size_bytes
        self.future: asyncio.Future[bool]
        self.result: Any = None
        self.error: Exception | None = None


A = TypeVar("A", bound=Act)


class Lane(Generic[A]):
    """Runs `work` on batches of acts in a thread of its own, in the order in which they were submitted.

    `work` sets the result or the error of each act; what it raises becomes the error of all. `end` is called last.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[A]], None],
        end: Callable[[], None],
        loop: asyncio.AbstractEventLoop | None = None,  # given where this is made in another thread
    ) -> None:
        self._name = name
        self._work = work
        self._end_work = end
        self._loop = loop or asyncio.get_running_loop()
        self._queue: SimpleQueue[Sequence[A] | None] = SimpleQueue()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._stands_aside = False
        self._under_way: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._late: asyncio.TimerHandle | None = None
        self._ended = self._loop.create_future()
        # A daemon: a program that never closes its store must still be able to end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def submit(self, *acts: A) -> None:
        """Have `acts` done and return when all are; their outcomes are in them.

        Raises:
            Refused: Too much waits already. Nothing was done.
            Unavailable: It took longer than 5 s. What had not begun is never done; of the rest nothing is known.
        """
        size_bytes = acts[0].bytes if len(acts) == 1 else sum(act.bytes for act in acts)
        if self._closed:
            raise Unavailable(f"{self._name} is closed; open the store again")
        if self._waiting + len(acts) > WAITING_MAX or self._waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            raise Refused(f"{self._waiting} acts wait for {self._name}; try again in 1 s", wait_s=1.0)
        self._waiting += len(acts)
        self._waiting_bytes += size_bytes
        future = self._loop.create_future()  # one for all: what is submitted together is taken together
        for act in acts:
            act.future = future
        self._under_way.append((self._loop.time() + DEADLINE_S, future))
        self._queue.put(acts)  # at once, for each may wake the thread
        if self._late is None:
            self._late = self._loop.call_later(DEADLINE_S, self._give_up_late)
        if not self._stands_aside:
            self._stands_aside = True
            self._loop.call_later(_ASIDE_EVERY_S, self._stand_aside)
        try:
            in_time = await future
        finally:
            future.cancel()
        if not in_time:
            raise Unavailable(f"{self._name} did not answer within {DEADLINE_S:.0f} s; read before writing")

    def end(self) -> None:
        """Take nothing more; let what was submitted end, then the thread. Nothing is waited for."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    async def close(self) -> None:
        """Do what `end` does, and wait for it; returns after 5 s at the latest."""
        self.end()
        await asyncio.wait({self._ended}, timeout=DEADLINE_S)

    def _run(self) -> None:
        open_ = True
        try:
            while open_:
                acts, open_ = self._take()
                # What nobody waits for any more, and has not begun, is left out.
                wanted = [act for act in acts if not act.future.done()]
                try:
                    if wanted:
                        self._work(wanted)
                except Exception as error:  # it belongs to the callers, not to this thread
                    for act in wanted:
                        act.error = error
                self._loop.call_soon_threadsafe(self._settle, acts)
            self._end_work()
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:
            # The loop was closed without closing the store: nobody is left who could be told.
            return

    def _take(self) -> tuple[list[A], bool]:
        acts: list[A] = []
        submitted = self._queue.get()
        try:
            while submitted is not None:
                acts += submitted
                if len(acts) >= BATCH_MAX:
                    return acts, True
                submitted = self._queue.get_nowait()
        except Empty:
            return acts, True
        return acts, False

    def _stand_aside(self) -> None:
        """Let the thread have the interpreter. Delete this, and a write takes seconds while the loop is busy."""
        self._stands_aside = self._waiting > 0
        if self._stands_aside:
            time.sleep(_ASIDE_S)
            self._loop.call_later(_ASIDE_EVERY_S, self._stand_aside)

    def _settle(self, acts: list[A]) -> None:
        self._waiting -= len(acts)
        for act in acts:
            self._waiting_bytes -= act.bytes
            if not act.future.done():
                act.future.set_result(True)
        under_way = self._under_way
        while under_way and under_way[0][1].done():
            under_way.popleft()

    def _give_up_late(self) -> None:
        """Tell whoever has waited for too long; one timer for all, since they wait in the order of their deadlines."""
        self._late = None
        now, under_way = self._loop.time(), self._under_way
        while under_way and (under_way[0][1].done() or under_way[0][0] <= now):
            future = under_way.popleft()[1]
            if not future.done():
                future.set_result(False)
        if under_way:
            self._late = self._loop.call_at(under_way[0][0], self._give_up_late)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
