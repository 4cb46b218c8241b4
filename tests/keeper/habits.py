"""Starts workers with habits (`programs/worker.py`) in a real keeper, and hears what they say."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from holdfast.gateway import Exit
from holdfast.gateway.keeper import KeeperSettings, KeeperWorkers
from holdfast.gateway.keeper_worker import KeeperWorker
from tests.kit import eventually_async

PROGRAM = Path(__file__).parent / "programs" / "worker.py"


class Heard:
    """What one worker said and how it ended."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.numbers: list[int] = []
        self.exits: list[Exit] = []
        self.worker: KeeperWorker | None = None

    def hear(self, frame: bytes, number: int) -> None:
        assert self.worker is not None
        self.frames.append(frame)
        self.numbers.append(number)
        self.worker.done(number)

    async def frames_reach(self, count: int) -> None:
        await eventually_async(lambda: len(self.frames) >= count or self.exits, within_s=120.0)
        assert len(self.frames) >= count, (self.frames, self.exits)

    async def exit(self) -> Exit:
        await eventually_async(lambda: self.exits)
        return self.exits[0]


@contextlib.asynccontextmanager
async def opened(data: Path, *habit: str, term: int = 0, **settings: Any) -> AsyncIterator[KeeperWorkers]:
    """Open workers with this habit and the environment every test may count on."""
    command = (sys.executable, "-I", "-S", str(PROGRAM), *habit)
    wanted = KeeperSettings(**{"command": command, "env": {"PATH": os.defpath, "LANG": "C.UTF-8"}} | settings)
    async with KeeperWorkers.open(wanted, data, term) as workers:
        yield workers


async def spawned(workers: KeeperWorkers, place: Path) -> tuple[KeeperWorker, Heard]:
    """Spawn a worker in a folder made for it."""
    (place / "work").mkdir(parents=True, exist_ok=True)
    heard = Heard()
    worker = await workers.spawn(str(place), place, on_frame=heard.hear, on_exit=heard.exits.append)
    heard.worker = worker
    worker.go()
    return worker, heard


def alive(pid: int) -> bool:
    """Say whether this process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """Return the parent: of a worker, the keeper."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
