"""What runs a session's MCP server.

An `Upstream` is a session's server for as long as the session lives; a `Worker` is the process that runs it for now.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ..model import HoldfastError
from ..model.jsonrpc import RequestId


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
        """Whether what waits for its stdin is over the bound: send only what goes first until it is not."""
        ...

    @property
    def jammed(self) -> bool:
        """Whether nothing gets through, not even what goes first: send nothing until it does."""
        ...

    def send(self, frame: bytes, *, first: bool = False) -> None:
        """Queue one message, without a newline in it, for its stdin; dropped without a word when it has ended.

        One that goes `first` overtakes those that wait.
        """
        ...

    async def deliver(self, frame: bytes, *, first: bool = False) -> None:
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

    async def spawn(self, place: Path, *, on_frame: Callable[[bytes], None], on_exit: Callable[[Exit], None]) -> Worker:
        """Start a worker for the session whose folder is `place`; its working directory is `place/work`.

        `on_frame` gets each message it writes, in order; `on_exit` is called exactly once, after the last frame,
        when nothing of it is left. Both are called on the event loop and must not block.

        Raises:
            Unavailable: It could not be started; the message says why. Neither callback was or will be called.
        """
        ...


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What a client settled when it opened its session: enough to open a new worker in its name.

    JSON is kept as the bytes it came in. `capabilities` are what the first worker answered; empty when that is not
    known. `crashes` are the times of recent crashes in seconds since the epoch.
    Source: MCP 2025-11-25, "Lifecycle", "Logging", "Resources: subscriptions".
    """

    params: bytes
    protocol: str
    capabilities: bytes = b""
    initialized: bool = False
    log_level: bytes | None = None
    subscriptions: tuple[str, ...] = ()
    crashes: tuple[float, ...] = ()


class Changed(HoldfastError):
    """The server no longer speaks what this session agreed on; the session must end."""


class Upstream(Protocol):
    """The MCP server of one session, whichever worker runs it at the moment."""

    @property
    def full(self) -> bool:
        """Whether it takes only what goes first for now."""
        ...

    @property
    def jammed(self) -> bool:
        """Whether it takes nothing for now."""
        ...

    async def open(self, initialize: bytes, request_id: RequestId) -> bytes:
        """Start the first worker with the client's own initialize request; return its answer as it came.

        Raises:
            Unavailable: It did not start or did not answer in time; nothing of it is left.
        """
        ...

    async def ready(self, handshake: Handshake) -> None:
        """Return once a worker runs: one is started, and the handshake replayed, however many ask at once.

        Raises:
            Unavailable: It did not start or did not answer in time.
            Refused: The last start failed a moment ago; the next one may be tried in `wait_s` seconds.
            Changed: It answered with another protocol version.
        """
        ...

    def send(self, frame: bytes, *, first: bool = False) -> None:
        """Queue one message; dropped when no worker runs."""
        ...

    async def deliver(self, frame: bytes, *, first: bool = False) -> None:
        """Queue one message and return once it outlives this process.

        Raises:
            Unavailable: There is no worker, or it ended before.
        """
        ...

    async def stop(self) -> None:
        """End the worker and everything it started; `on_lost` is not called for it."""
        ...


class Upstreams(Protocol):
    """Makes the upstream of a session; nothing is started yet."""

    def make(self, place: Path, *, on_frame: Callable[[bytes], None], on_lost: Callable[[Exit], None]) -> Upstream:
        """Return the upstream of the session whose folder is `place`.

        `on_frame` gets what the server says, in order, except answers to what the upstream asked itself;
        `on_lost` is called when a worker ends that nobody stopped.
        """
        ...
