"""What runs a session's MCP server: one `Worker` per session, made by `Workers`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec


class Exit(msgspec.Struct, frozen=True):
    """How a worker ended; nothing of it is left. `stderr` holds its last lines, bounded."""

    code: int | None
    signal: int | None
    why: str
    stderr: str = ""


class Worker(Protocol):
    """One running MCP server that speaks JSON-RPC, one message a frame."""

    @property
    def full(self) -> bool:
        """Whether what waits for its stdin is over the bound: refuse requests until it is not."""
        ...

    def send(self, frame: bytes) -> None:
        """Queue one message, without a newline in it, for its stdin; dropped without a word when it has ended."""
        ...

    async def deliver(self, frame: bytes) -> None:
        """Like `send`, and return once the keeper has it: from then on the death of this server does not lose it.

        Raises:
            Unavailable: The worker or its keeper ended before it was accepted.
        """
        ...

    async def stop(self, *, grace_s: float) -> None:
        """End it and everything it started: stdin closed, SIGTERM at half the grace, SIGKILL after it.

        Returns once nothing of it is left; `on_exit` was called before. Stopping twice is the same as once.
        """
        ...


class Workers(Protocol):
    """Starts workers."""

    async def spawn(
        self, place: Path, *, on_frame: Callable[[bytes], None], on_exit: Callable[[Exit], None]
    ) -> Worker:
        """Start a worker for the session whose folder is `place`; its working directory is `place/work`.

        `on_frame` gets each message it writes, in order; `on_exit` is called exactly once, after the last frame,
        when nothing of it is left. Both are called on the event loop and must not block.

        Raises:
            Unavailable: It could not be started; the message says why. Neither callback was or will be called.
        """
        ...
