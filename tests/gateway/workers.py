"""Workers in this process, which say what a test's plan makes them say."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.gateway.contract import Exit, Hear
from holdfast.model import Misused, Unavailable

AGREED = {"protocolVersion": "2025-11-25"}

Plan = Callable[["PlannedWorker", dict[str, Any]], None]


class Lone:
    """What a worker, an upstream, or their maker is that no other server ever had or will have."""

    full = jammed = False

    async def attach(self, *_: Any, **__: Any) -> None:
        return None

    async def clear(self, label: str) -> None:
        return

    async def orphan(self) -> str:
        await asyncio.Event().wait()  # there is none
        raise AssertionError

    async def settled(self) -> None:
        return

    def go(self, *_: Any) -> None:
        return

    def done(self, frame: int, call: int = 0) -> None:
        return

    async def confirm(self, stage: int) -> None:
        return

    def reached(self, stage: int) -> None:
        return

    def release(self) -> None:
        return


class PlannedWorker(Lone):
    """A worker that hands each message it gets to the plan."""

    refusing = gone = False

    def __init__(self, on_frame: Hear, on_exit: Callable[[Exit], None], plan: Plan) -> None:
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._plan = plan
        self.heard: list[dict[str, Any]] = []
        self.heard_first: list[dict[str, Any]] = []
        self.ended = self.released = False
        self.stage = 0
        self.number = secrets.randbits(62)
        self.kept: dict[int, bytes] = {}
        self.calls: dict[int, bytes] = {}

    def done(self, frame: int, call: int = 0) -> None:
        self.kept.pop(frame, None)
        self.calls.pop(call, None)

    def reached(self, stage: int) -> None:
        self.stage = stage

    def release(self) -> None:
        self.released = True

    def say(self, message: dict[str, Any]) -> None:
        self.number += 1
        self.kept[self.number] = frame = json.dumps(message).encode()
        self._on_frame(frame, self.number)

    def answer(self, message: dict[str, Any], result: Any) -> None:
        self.say({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def end(self, ended: Exit | None = None) -> None:
        if not self.ended:
            self.ended = True
            self._on_exit(ended or Exit(1, None, "it exited with code 1"))

    def send(self, frame: bytes, *, first: bool = False, call: int = 0, note: bytes = b"") -> None:
        if self.refusing:
            raise Misused("too long to be sent")
        if not self.ended:
            if call:
                self.calls[call] = note or frame
            message = json.loads(frame)
            self.heard.append(message)
            if first:
                self.heard_first.append(message)
            self._plan(self, message)

    async def deliver(self, frame: bytes, *, first: bool = False, reaches: int = 0, answers: int = 0) -> None:
        if self.gone:
            raise Unavailable("the worker ended before it got the message")
        self.send(frame, first=first)

    async def stop(self, *, grace_s: float) -> None:
        self.end()


class PlannedWorkers(Lone):
    """Starts workers with one plan; `made` holds them all."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.made: list[PlannedWorker] = []
        self.refusing = False
        self.may_spawn = asyncio.Event()
        self.may_spawn.set()

    async def spawn(self, label: str, place: Path, *, on_frame: Hear, on_exit: Callable[[Exit], None]) -> PlannedWorker:
        await self.may_spawn.wait()
        if self.refusing:
            raise Unavailable("no worker today")
        self.made.append(PlannedWorker(on_frame, on_exit, self._plan))
        return self.made[-1]

    @property
    def alive(self) -> int:
        return sum(not worker.ended for worker in self.made)
