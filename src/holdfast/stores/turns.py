"""A thread of its own for one long piece of work, which the event loop asks for turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from .lane import Act, Lane

T = TypeVar("T")


class _Turn(Act):
    __slots__ = ("run",)

    def __init__(self, run: Callable[[], Any]) -> None:
        super().__init__()
        self.run = run


class Turns:
    """Runs functions one after the other in a thread; what one raises is raised. Begun by `Turns.begin`."""

    def __init__(self, lane: Lane[_Turn]) -> None:
        self._lane = lane

    @classmethod
    async def begin(cls, name: str, end: Callable[[], None]) -> Turns:
        """Start the thread, in which `end` is called last. Starting one waits for it, so another thread does that."""
        loop = asyncio.get_running_loop()
        return cls(await asyncio.to_thread(partial(Lane, name, _run, end, loop)))

    async def do(self, run: Callable[[], T]) -> T:
        """Return what `run` returns.

        Raises:
            Unavailable: It takes longer than 5 s; what it does goes on all the same.
        """
        turn = _Turn(run)
        await self._lane.submit(turn)
        if turn.error is not None:
            raise turn.error
        result: T = turn.result
        return result

    async def close(self) -> None:
        """End the thread when what it was asked for is done; returns after 5 s at the latest."""
        await self._lane.close()


def _run(turns: Sequence[_Turn]) -> None:
    for turn in turns:
        try:
            turn.result = turn.run()
        except Exception as error:  # it belongs to whoever asked
            turn.error = error
