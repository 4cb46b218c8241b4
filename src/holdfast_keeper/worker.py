"""One worker: its main process, its pipes, whose it is, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import NamedTuple, Protocol

from . import wire
from .backlog import Backlog
from .child import Child
from .errlog import ErrorLog
from .inbox import Inbox
from .lines import Lines
from .loop import READ, WRITE, Loop
from .outbox import Outbox
from .processes import Process, send_signal, tree
from .room import Room

CHUNK_BYTES = 65536
UNHEARD = "unheard"  # the file in a session's folder for what no server has taken
LAME_S = 0.5  # how long a process may take to exit after it closed a pipe
FORCED_S = 1.0  # from SIGTERM to SIGKILL for a worker that broke a bound
STRAYS_S = 0.5  # from SIGTERM to SIGKILL for what a worker left behind
PIPE_HELD_S = 1.0  # how long somebody unknown may hold its stdout
NEVER = float("inf")


class Order(NamedTuple):
    """What a worker was started with: `label` names it for every server, `keep_s` is how long it lives without one."""

    serial: int
    label: str
    place: str
    frame_bytes_max: int
    keep_s: float


class Owner(Protocol):
    """A connection to a server, as a worker sees it."""

    outbox: Outbox

    def own(self, worker: Worker, number: int) -> None:
        """Take note that a worker is its own, under the number it chose."""
        ...


class Worker:
    """Relays frames between one main process and the server that owns it, and ends it with everything it started.

    It runs until its main process was reaped (`reaped`), then leaves until nothing it started is left and all it
    wrote was taken (`left`). It is `over` once a server has acknowledged that too.
    Invariant: what it says goes to one server at a time, and is kept until that one has acknowledged it.
    """

    __slots__ = (
        "_child",
        "_ended_by",
        "_exit_number",
        "_exit_told",
        "_family_gone_at",
        "_flowing",
        "_full",
        "_held_up",
        "_inbox",
        "_kill_at",
        "_lines",
        "_log",
        "_loop",
        "_open",
        "_reaped_at",
        "_stalled",
        "_status",
        "_stdin_awaited",
        "_term_at",
        "_why",
        "backlog",
        "calls",
        "family",
        "keep_s",
        "label",
        "left",
        "number",
        "over",
        "owner",
        "pid",
        "place",
        "serial",
        "since",
        "stage",
        "unwanted",
    )

    def __init__(self, order: Order, child: Child, loop: Loop, room: Room) -> None:
        self.serial, self.label, self.place, _, self.keep_s = order
        self.pid = child.pid
        self.since = time.time()
        self.stage = 0
        self.family: set[Process] = set()
        self.left = self.over = self.unwanted = False
        self.owner: Owner | None = None
        self.number = 0  # among the owner's workers
        self.backlog = Backlog(room, f"{order.place}/{UNHEARD}")
        self.calls: dict[int, tuple[bytes, float]] = {}
        self._child = child
        self._loop = loop
        self._lines = Lines(order.frame_bytes_max)
        self._inbox = Inbox(child.stdin)
        self._log = ErrorLog(f"{order.place}/stderr.log")
        self._open = {child.stdin, child.stdout, child.stderr}
        self._flowing = self._full = self._held_up = self._stalled = False
        self._exit_number = 0
        self._exit_told = False
        self._stdin_awaited = False
        self._why = ""
        self._ended_by: int | None = None
        self._term_at = self._kill_at = NEVER
        self._status: int | None = None
        self._reaped_at = 0.0
        self._family_gone_at: float | None = None
        loop.watch(child.stdout, READ, self._read_stdout)
        loop.watch(child.stderr, READ, self._read_stderr)

    @property
    def reaped(self) -> bool:
        """Whether its main process has ended."""
        return self._status is not None

    # --- whose it is

    def belong(self, owner: Owner, number: int) -> None:
        """Belong to `owner`, under this number; what it says waits for `flow`."""
        self.owner, self.number = owner, number
        owner.own(self, number)

    def flow(self) -> None:
        """Send the owner all that is not acknowledged, and from now on what comes."""
        self._flowing = True
        self._catch_up()

    def let_go(self) -> None:
        """Belong to nobody; what is not acknowledged is for the next owner."""
        self.owner, self._flowing, self._stalled, self._exit_told = None, False, False, False
        self.backlog.rewind()
        self._resume_if_room()

    def done(self, frame: int, call: int) -> None:
        """Forget a frame that the owner has seen to, and a call that has its answer; 0 stands for neither."""
        if call:
            self.calls.pop(call, None)
        if frame:
            if frame == self._exit_number:
                self._exit_told = True  # kept as long as anything before it, for whoever hears of that must hear of it
            else:
                self.backlog.done(frame)
            if self._exit_told:
                self.over = self.backlog.count == 1
            if self._stalled:
                self._catch_up()
            else:
                self._resume_if_room()

    def inventory(self) -> dict[str, object]:
        """Return what its next owner must know, as ATTACHED tells it."""
        now = time.monotonic()
        calls = [
            {"call": call, "age_s": now - since, "note": note.decode("utf-8", "replace")}
            for call, (note, since) in self.calls.items()
        ]
        first, last = self.backlog.first, self.backlog.last
        return {
            "pid": self.pid,
            "since": self.since,
            "stage": self.stage,
            "full": self._full,
            "first": first,
            "last": last,
            "calls": calls,
        }

    # --- frames to it

    def queue(self, frame: bytes, first: bool) -> bool:
        """Queue a frame for its stdin, to be written by `flush`; return whether it may still be read.

        One that goes first overtakes those that wait.
        """
        if self._child.stdin not in self._open or self._term_at < NEVER:
            return False
        self._inbox.add(frame, first)
        return True

    def flush(self) -> None:
        """Write what its stdin takes, and tell the server when the rest crosses a bound."""
        stdin, inbox = self._child.stdin, self._inbox
        if stdin not in self._open:
            return
        if not inbox.write():
            self._close(stdin)
            self._end_if_it_stays("it closed its stdin and did not exit")
            return
        if inbox.empty and not (self._full or self._stdin_awaited or self._term_at < NEVER):
            return
        if inbox.overflowing:
            self.end("it did not read its stdin, and more was waiting than may", 0.0, FORCED_S)
            return
        if inbox.over if not self._full else inbox.below_half:
            self._full = not self._full
            if self.owner is not None:
                self.owner.outbox.add(wire.FULL if self._full else wire.READY, self.number)
        self._await_stdin(not inbox.empty)
        if inbox.empty and self._term_at < NEVER:
            self._close(stdin)

    def _await_stdin(self, wanted: bool) -> None:
        if wanted != self._stdin_awaited:
            self._stdin_awaited = wanted
            if wanted:
                self._loop.watch(self._child.stdin, WRITE, lambda _: self.flush())
            else:
                self._loop.forget(self._child.stdin)

    # --- what it writes

    def _read_stdout(self, _: int) -> None:
        if self.backlog.full or (self._flowing and self.owner is not None and self.owner.outbox.congested):
            self._hold_up()
        else:
            self._take_stdout()

    def _hold_up(self) -> None:
        """Leave what it writes in its pipe for now, which pauses it when that is full."""
        self._loop.forget(self._child.stdout)
        self._held_up = True
        if not self.backlog.full and self.owner is not None:
            self.owner.outbox.when_clear(self._resume)

    def _resume_if_room(self) -> None:
        if self._held_up and not self.backlog.full:
            self._resume()

    def _resume(self) -> None:
        if self._held_up:
            self._held_up = False
            if self._child.stdout in self._open:
                self._loop.watch(self._child.stdout, READ, self._read_stdout)

    def _forward(self, frames: list[bytes]) -> None:
        """Send the owner what it said, or keep it for whoever comes."""
        if not frames:
            return
        if self._flowing and self.owner is not None and self.backlog.caught_up:
            self.owner.outbox.add_all(wire.FRAME, self.number, frames, self.backlog.add(frames))
        else:
            self.backlog.keep(frames)

    def _catch_up(self) -> None:
        """Send the owner what was kept, as fast as it takes it and acknowledges it."""
        owner, self._stalled = self.owner, False
        while owner is not None and not owner.outbox.closed and self._flowing and not self.backlog.caught_up:
            if owner.outbox.congested:
                owner.outbox.when_clear(self._catch_up)
                return
            batch = self.backlog.unsent(CHUNK_BYTES)
            for number, frame in batch:
                kind = wire.EXITED if number == self._exit_number else wire.FRAME
                owner.outbox.add(kind, self.number, frame, number)
            if not batch:
                self._stalled = not self.backlog.caught_up
                break
        self._resume_if_room()

    def _take_stdout(self) -> bool:
        """Forward one chunk; return whether there may be more at once."""
        chunk = _read(self._child.stdout)
        if not chunk:
            if chunk is not None:
                self._stdout_ended()
            return False
        self._forward(self._lines.feed(chunk))
        if not self._lines.too_long:
            return True
        self._close(self._child.stdout)
        self.end("it wrote a message over the bound of its size", 0.0, FORCED_S)
        return False

    def _stdout_ended(self) -> None:
        self._close(self._child.stdout)
        self._forward(self._lines.end())
        if self._lines.too_long:
            self.end("it wrote a message over the bound of its size", 0.0, FORCED_S)
        else:
            self._end_if_it_stays("it closed its stdout and did not exit")
            self._leave()

    def _read_stderr(self, _: int) -> None:
        chunk = _read(self._child.stderr)
        if chunk:
            self._log.write(chunk)
        elif chunk is not None:
            self._close(self._child.stderr)

    # --- its end

    def end(self, why: str, term_s: float, kill_s: float) -> None:
        """Close its stdin, send SIGTERM after `term_s` and SIGKILL after `kill_s`; a later call can only hasten it.

        Frames that wait are still written until SIGTERM.
        """
        if self.reaped:
            return
        now = time.monotonic()
        self._why = self._why or why
        self._term_at = min(self._term_at, now + term_s)
        self._kill_at = min(self._kill_at, now + kill_s)
        self._close_stdin_if_done(now)
        for delay_s in (term_s, kill_s):
            self._loop.after(delay_s, self._press)

    def _close_stdin_if_done(self, now: float) -> None:
        """Close its stdin if nothing waits for it, or if the time to wait is over."""
        if self._child.stdin in self._open and (self._inbox.empty or now >= self._term_at):
            self._close(self._child.stdin)

    def _press(self) -> None:
        now = time.monotonic()
        if self.reaped or now < self._term_at:
            return
        self._close_stdin_if_done(now)
        number = signal.SIGKILL if now >= self._kill_at else signal.SIGTERM
        if self._ended_by == number:
            return
        self._ended_by = number
        # Who leaves its session can be told from others only as long as its parents live.
        self.family.update(tree([self.pid]))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _end_if_it_stays(self, why: str) -> None:
        self._loop.after(LAME_S, lambda: self.end(why, 0.0, FORCED_S))

    def main_reaped(self, status: int) -> None:
        """Note how its main process ended; its number may belong to somebody else from now on."""
        self._status = status
        self._reaped_at = time.monotonic()
        if self._child.stdin in self._open:
            self._close(self._child.stdin)

    def family_found(self, family: set[Process]) -> None:
        """End what of it is left: SIGTERM when first seen, SIGKILL once its time is over."""
        kill = time.monotonic() - self._reaped_at >= STRAYS_S or time.monotonic() >= self._kill_at
        for process in family if kill else family - self.family:
            send_signal(process, signal.SIGKILL if kill else signal.SIGTERM)
        self.family |= family
        self._family_gone_at = None

    def family_gone(self) -> None:
        """Note that nothing it started is left, and leave once all it wrote is forwarded."""
        if self._family_gone_at is None:
            self._family_gone_at = time.monotonic()
            self._loop.after(PIPE_HELD_S, self._leave)
        self._leave()

    def _leave(self) -> None:
        if self._family_gone_at is None or self.left:
            return
        # What is in the pipe now is all it wrote; taking it is bounded by the pipe's size.
        while self._child.stdout in self._open and self._take_stdout():
            pass
        held = self._child.stdout in self._open
        if self.left or (held and time.monotonic() - self._family_gone_at < PIPE_HELD_S):
            return
        self.left = True
        while self._child.stderr in self._open and (chunk := _read(self._child.stderr)):
            self._log.write(chunk)
        for fd in tuple(self._open):
            self._close(fd)
        self.backlog.keep([self._exit()])
        self._exit_number = self.backlog.last
        self._catch_up()

    def _exit(self) -> bytes:
        code = os.waitstatus_to_exitcode(self._status or 0)
        why = self._why
        if not why:
            why = f"it exited with code {code}" if code >= 0 else f"it was killed by {signal.Signals(-code).name}"
        elif self._ended_by == signal.SIGKILL:
            why += "; it was killed when its time to exit was over"
        fields = {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "why": why}
        if self.unwanted:  # it did not end by its own doing
            fields |= {"code": None, "signal": None}
        return json.dumps({**fields, "stderr": self._log.tail, "at": time.time()}).encode()

    def _close(self, fd: int) -> None:
        self._open.discard(fd)
        self._loop.forget(fd)
        os.close(fd)


def _read(fd: int) -> bytes | None:
    """Return a chunk, nothing at the end of the stream, or None when there is nothing now."""
    try:
        return os.read(fd, CHUNK_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
