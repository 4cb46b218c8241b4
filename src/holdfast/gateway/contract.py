"""What runs a session's MCP server.

An `Upstream` is a session's server for as long as the session lives; a `Worker` is the process that runs it for now.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from ..model import HoldfastError
from ..model.jsonrpc import RequestId


class Exit(msgspec.Struct, frozen=True):
    """How a worker ended; nothing of it is left. `stderr` holds its last lines, bounded.

    `at` is when, in seconds since the epoch, 0 when that is not known. `number` counts it behind the worker's frames.
    """

    code: int | None
    signal: int | None
    why: str
    stderr: str = ""
    at: float = 0.0
    number: int = 0


class OpenCall(msgspec.Struct, frozen=True):
    """A request that a worker got through an earlier server and whose answer is not known to have been kept.

    `call` is its number in the session, `note` the request, or as much of it as matters (`rules.note_of`).
    """

    call: int
    age_s: float
    note: str


class Inventory(msgspec.Struct, frozen=True):
    """What a worker brings along that an earlier server started.

    It was started at `since`, seconds since the epoch. `stage` is what `Worker.reached` noted; `first` and `last` are
    the numbers of what it said that is not acknowledged, 0 when there is nothing.
    """

    pid: int
    stage: int
    full: bool
    first: int
    last: int
    calls: tuple[OpenCall, ...]
    since: float = 0.0


Hear: TypeAlias = "Callable[[bytes, int], None]"
"""Takes one message of a worker and its number."""


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

    def go(self) -> None:
        """Begin to hear what it says."""
        ...

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        """Queue one message, without a newline in it, for its stdin; dropped without a word when it has ended.

        One that goes `first` overtakes those that wait. A request carries the number of its `call`; an `Inventory`
        tells the next server of it, by its `note` if it has one, until it is `done`.
        """
        ...

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        """Like `send`, and return once the keeper has it: from then on the death of this server does not lose it.

        With `reaches`, `reached` is called for that stage right behind it. With `answers`, the number of a question,
        that one is `done` by it.

        Raises:
            Unavailable: The worker or its keeper ended before it was accepted.
            Moved: It belongs to another server, which may have it or not.
        """
        ...

    def done(self, frame: int, call: int = 0) -> None:
        """Let go of a message of this number, which outlives this process or need not, and of a call; 0 for none.

        What is not let go of is said again to the next server.
        """
        ...

    def reached(self, stage: int) -> None:
        """Note for the next server how far it is: 1, the handshake is done; 2, and `initialized` was sent."""
        ...

    async def confirm(self, stage: int) -> None:
        """Like `reached`, and return once the keeper knows.

        Raises:
            Unavailable: It has ended.
            Moved: It belongs to another server.
        """
        ...

    def release(self) -> None:
        """Leave it, running, to the next server; nothing is heard of it any more, `on_exit` included."""
        ...

    async def stop(self, *, grace_s: float) -> None:
        """End it and everything it started: stdin closed, SIGTERM at half the grace, SIGKILL after it.

        Returns once nothing of it is left; `on_exit` was called before. Stopping twice is the same as once.
        """
        ...


class Workers(Protocol):
    """Starts workers, and finds those that an earlier server started. A label names a worker for all servers."""

    async def spawn(self, label: str, place: Path, *, on_frame: Hear, on_exit: Callable[[Exit], None]) -> Worker:
        """Start a worker for the session whose folder is `place`; its working directory is `place/work`.

        After `go`, `on_frame` gets each message it writes, in order; `on_exit` is called exactly once, after the last
        frame, when nothing of it is left. Both are called on the event loop and must not block.

        Raises:
            Unavailable: It could not be started; the message says why. Neither callback was or will be called.
        """
        ...

    async def attach(
        self, label: str, *, on_frame: Hear, on_exit: Callable[[Exit], None]
    ) -> tuple[Worker, Inventory] | None:
        """Take over the worker of this label; None when there is none. After `go` it is as if it was spawned here.

        Whoever has it is waited for, within a bound.

        Raises:
            Unavailable: It is not let go of in time, or a newer server has it.
        """
        ...

    async def clear(self, label: str) -> None:
        """End what runs under this label, if anything does; return once nothing of it is left."""
        ...

    async def orphan(self) -> str:
        """Return the label of a worker that no server has, each once, as soon as there is one."""
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

    async def attach(self) -> Inventory | None:
        """Take over the worker that an earlier server left; None when there is none that can go on.

        Raises:
            Unavailable: The server that has it does not let it go.
        """
        ...

    def go(self, handshake: Handshake) -> None:
        """Begin to hear what the worker says that was taken over, if one was."""
        ...

    async def settled(self) -> None:
        """Return once all has been heard that a worker had said before it was taken over; bounded."""
        ...

    async def ready(self, handshake: Handshake) -> None:
        """Return once a worker runs: one is started, and the handshake replayed, however many ask at once.

        Raises:
            Unavailable: It did not start or did not answer in time.
            Refused: The last start failed a moment ago; the next one may be tried in `wait_s` seconds.
            Changed: It answered with another protocol version.
        """
        ...

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        """Queue one message; dropped when no worker runs. See `Worker.send`."""
        ...

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        """Queue one message and return once it outlives this process.

        Raises:
            Unavailable: There is no worker, or it ended before.
            Moved: It belongs to another server.
        """
        ...

    def done(self, frame: int, call: int = 0) -> None:
        """Let go of a message and of a call: of the running worker, or of the one whose end was just told."""
        ...

    def reached(self, stage: int) -> None:
        """See `Worker.reached`."""
        ...

    async def confirm(self, stage: int) -> None:
        """See `Worker.confirm`."""
        ...

    def release(self) -> None:
        """Leave the worker to the next server; `on_lost` is not called."""
        ...

    async def stop(self) -> None:
        """End the worker and everything it started; `on_lost` is not called for it."""
        ...


class Upstreams(Protocol):
    """Makes the upstream of a session; nothing is started yet."""

    def make(self, label: str, place: Path, *, on_frame: Hear, on_lost: Callable[[Exit], None]) -> Upstream:
        """Return the upstream of the session whose folder is `place`.

        `on_frame` gets what the server says, in order, except answers to what the upstream asked itself; each is to be
        let go of with `done`, the end that `on_lost` tells too: it is called when a worker ends that nobody stopped.
        """
        ...

    async def orphan(self) -> str:
        """See `Workers.orphan`."""
        ...
