"""Streams: the messages of one answer or one GET, journaled before they are sent, carried by one connection each."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeAlias

from ..model import HoldfastError, Unavailable
from ..model.jsonrpc import RequestId, id_json
from ..runtime import spawn
from ..stores.contract import Batch, Entry, Journal, Kind
from .sse import COMMENT, RETRY, event

_log = logging.getLogger(__name__)

OUTLET_BYTES_MAX: Final = 16 * 2**20
JOURNALING_BYTES_MAX: Final = 16 * 2**20
BATCH_MAX: Final = 500

Position = tuple[int, int]
Done: TypeAlias = "Callable[[Entry, HoldfastError | None], None]"
Owned: TypeAlias = "tuple[str, int]"
"""A session's id, and the term under which it is owned."""
LAST: Final[Position] = (2**62, 0)
"""Behind every event: for what is no event, and so is sent whatever a client has seen."""


class Outlet:
    """The sending end of one HTTP response that carries a stream.

    A reader so slow that several events, of more than `OUTLET_BYTES_MAX` bytes, wait for it is let go: it resumes from
    the journal.
    """

    __slots__ = ("_bytes", "_closed", "_items", "_wakeup")

    def __init__(self) -> None:
        self._items: list[tuple[Position, bytes]] = []
        self._bytes = 0
        self._closed = False
        self._wakeup: asyncio.Future[None] | None = None

    def push(self, position: Position, data: bytes) -> None:
        """Add one event."""
        if self._closed:
            return
        self._items.append((position, data))
        self._bytes += len(data)
        if self._bytes > OUTLET_BYTES_MAX and len(self._items) > 1:
            self._items = [(LAST, RETRY)]
            self._closed = True
        self._wake()

    @property
    def is_awaited(self) -> bool:
        """Whether everything that came was sent, and more is waited for."""
        return not self._items and self._wakeup is not None and not self._wakeup.done()

    def beat(self) -> None:
        """Send a comment if nothing else waits, so that no proxy takes the connection for dead."""
        if not self._items:
            self.push(LAST, COMMENT)

    def close(self, last_words: bytes = b"") -> None:
        """End the response once what waits, and `last_words`, have been sent."""
        if last_words:
            self.push(LAST, last_words)
        self._closed = True
        self._wake()

    async def take(self, after: Position = (0, -1)) -> bytes | None:
        """Return all events behind `after` that wait, joined, as soon as there is one; None at the end."""
        data = self._pop(after)
        while not data and not self._closed:
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup
            data = self._pop(after)
        return data or None

    def _pop(self, after: Position) -> bytes:
        items, self._items, self._bytes = self._items, [], 0
        return b"".join(data for position, data in items if position > after)

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class Stream:
    """One stream of a session in this process: where it stands and who listens.

    `delivered` is the position of the last event handed to a connection, or that before its first one; a connection
    opened without Last-Event-ID goes on behind it.
    """

    __slots__ = ("delivered", "name", "next_seq", "outlet", "request_id")

    def __init__(self, name: str, request_id: RequestId | None, term: int, next_seq: int = 0) -> None:
        self.name = name
        self.request_id = request_id
        self.next_seq = next_seq
        self.outlet: Outlet | None = None
        self.delivered: Position = (term, next_seq - 1)

    @property
    def may_go_on_elsewhere(self) -> bool:
        """Whether its client knows an event of it, from which it resumes, or has left."""
        return self.outlet is None or (self.delivered[1] >= 0 and self.outlet.is_awaited)

    def attach(self, outlet: Outlet) -> None:
        """Send what comes to `outlet`; the one it replaces ends, since its other end may long be gone."""
        if self.outlet is not None:
            self.outlet.close()
        self.outlet = outlet

    def detach(self, outlet: Outlet) -> None:
        """Forget `outlet` if it is still the one that listens."""
        if self.outlet is outlet:
            self.outlet = None

    def next_entry(self, kind: Kind, term: int, at: float, data: bytes = b"", origin: int = 0) -> Entry:
        """Number the next message of this stream; `origin` is the number of the server's frame it came in."""
        request = id_json(self.request_id) if kind is Kind.OPENING and self.request_id is not None else b""
        entry = Entry(self.name, term, self.next_seq, kind, at, data, request, origin)
        self.next_seq += 1
        return entry

    def publish(self, tag: str, entry: Entry) -> None:
        """Hand one journaled entry to whoever listens."""
        if self.outlet is None:
            return
        self.delivered = (entry.term, entry.seq)
        self.outlet.push(self.delivered, event(tag, entry))
        if entry.kind is Kind.FINAL:
            self.outlet.close()


class Journaler:
    """Writes what the sessions' servers say, in order per session, and says so when it is written.

    `entries_written` and `bytes_written` count what was written since they were last set to 0.
    What waits is bounded: above `JOURNALING_BYTES_MAX` bytes `pause` is called, and `resume` once half is written.
    """

    def __init__(self, journal: Journal, *, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._journal = journal
        self._pause = pause
        self._resume = resume
        self._waiting: dict[Owned, deque[tuple[Entry, Done]]] = {}
        self._writing: asyncio.Task[None] | None = None
        self.entries_written = self.bytes_written = 0
        self._bytes = 0
        self._paused = False

    def write(self, session_id: str, term: int, entry: Entry, done: Done) -> None:
        """Journal one entry of a session behind all written before; `done` is told when it is, or why it is not."""
        self._account(len(entry.data))
        self._waiting.setdefault((session_id, term), deque()).append((entry, done))
        if self._writing is None:
            self._writing = spawn(self._write_all(), name="journal messages")

    async def _write_all(self) -> None:
        """Write one batch at a time: what comes meanwhile, of whichever session, makes the next one."""
        try:
            while self._waiting:
                batch = self._take()
                errors = await self._append(batch)
                for owned, entries in batch.items():
                    self._tell(entries, errors[owned])
        finally:
            self._writing = None

    def _take(self) -> dict[Owned, list[tuple[Entry, Done]]]:
        """Return what is written next: an equal share of every session, so that none keeps the others waiting."""
        share = max(1, BATCH_MAX // len(self._waiting))
        batch: dict[Owned, list[tuple[Entry, Done]]] = {}
        for owned in list(islice(self._waiting, BATCH_MAX)):
            waiting = self._waiting.pop(owned)
            batch[owned] = [waiting.popleft() for _ in range(min(share, len(waiting)))]
            if waiting:
                self._waiting[owned] = waiting  # behind the others
        return batch

    async def _append(self, batch: dict[Owned, list[tuple[Entry, Done]]]) -> dict[Owned, HoldfastError | None]:
        batches = [Batch(*owned, [entry for entry, _ in entries]) for owned, entries in batch.items()]
        try:
            return dict(zip(batch, await self._journal.append(batches), strict=True))
        except HoldfastError as refused:
            return dict.fromkeys(batch, refused)
        except Exception as error:
            _log.exception("the journal failed")
            unavailable = Unavailable(f"the journal failed: {error}")
            unavailable.__cause__ = error
            return dict.fromkeys(batch, unavailable)

    def _tell(self, entries: list[tuple[Entry, Done]], error: HoldfastError | None) -> None:
        self.entries_written += len(entries)
        for entry, done in entries:
            self.bytes_written += len(entry.data)
            self._account(-len(entry.data))
            try:
                done(entry, error)
            except Exception:  # whoever comes behind it must not wait for ever
                _log.exception("a journaled message could not be handed on")

    async def flushed(self, within_s: float = 5.0) -> None:
        """Return once nothing waits to be written, or after `within_s` seconds."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=within_s)

    def _account(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if not self._paused and self._bytes > JOURNALING_BYTES_MAX:
            self._paused = True
            self._pause()
        elif self._paused and self._bytes < JOURNALING_BYTES_MAX // 2:
            self._paused = False
            self._resume()
