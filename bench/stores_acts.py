"""What a store does at its own contract, in one process: how fast, in how much memory, and on how much of the disk.

`bench.stores` runs it. Each task waits for its own act before it begins the next, and chooses a session by chance among
all of them. A put is compare-and-set: one that is refused is counted, and is no write. What is got must be what was
asked for.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import random
import sys
import tempfile
import time
from array import array
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from holdfast import VersionConflict, open_store
from holdfast.model import Record, new_session_id
from holdfast.stores import Query, Store

Figures: TypeAlias = dict[str, Any]

METADATA_BYTES: Final = 300
TASKS: Final = (1, 64)
CREATING: Final = 64
SCANNED_AT_ONCE: Final = 1000

ADDRESSES: Final = {
    "memory": "memory://",
    "sqlite full": "sqlite:///{place}/sessions.db?durability=full",
    "sqlite interval": "sqlite:///{place}/sessions.db?durability=interval",
    "sqlite off": "sqlite:///{place}/sessions.db?durability=off",
    "leveldb": "leveldb:///{place}/sessions",
    "rocksdb": "rocksdb:///{place}/sessions",
}


class Mix(NamedTuple):
    """Which share of the acts are puts, the others being gets, and whether those are durable."""

    puts: float
    durable: bool = False


ACTS: Final = {
    "get": Mix(0.0),
    "put": Mix(1.0),
    "put durable": Mix(1.0, durable=True),
    "mixed": Mix(0.1),
    "mixed durable": Mix(0.1, durable=True),
}


class Load:
    """A store, and the sessions that it is asked for."""

    def __init__(self, size: int) -> None:
        # There before memory is looked at, so they are not counted.
        self.ids = tuple(new_session_id() for _ in range(size))
        self.versions = array("Q", bytes(8 * size))
        self.store: Store
        self.refused = 0
        self._created_at = time.time()
        self._rest = os.urandom(METADATA_BYTES - 8)

    def record(self, place: int, version: int) -> Record:
        """Return the next record of a session."""
        metadata = place.to_bytes(4) + version.to_bytes(4) + self._rest
        times = (self._created_at, time.time(), 3600.0, None)
        return Record(self.ids[place], version, 0, *times, "alice", frozenset(), "active", None, metadata)

    async def put(self, place: int, *, durable: bool) -> None:
        """Write what comes after the last that was written."""
        before = self.versions[place]
        try:
            await self.store.put(self.record(place, before + 1), expect=before, durable=durable)
        except VersionConflict:  # another task is about the same session
            self.refused += 1
        else:
            self.versions[place] = before + 1

    async def fill(self) -> Figures:
        """Create every session, 64 tasks at once; return how fast."""
        places = iter(range(len(self.ids)))

        async def create() -> None:
            for place in places:
                await self.put(place, durable=False)

        return await together([create() for _ in range(CREATING)], len(self.ids))

    async def over_some(self, mix: Mix, count: int, tasks: int) -> Figures:
        """Do about `count` acts by as many tasks; return how fast, and percentiles of what each took."""
        each = max(count // tasks, 1)
        self.refused, taken_s = 0, array("d")
        found = await together([self._each(mix, each, seed, taken_s) for seed in range(tasks)], each * tasks)
        in_order = sorted(taken_s)
        found |= {f"p{of}_us": round(in_order[len(in_order) * of // 100] * 1e6, 2) for of in (50, 95, 99)}
        return found | {"refused": self.refused} if self.refused else found

    async def _each(self, mix: Mix, count: int, seed: int, taken_s: array[float]) -> None:
        # Written out and not by a function for each act, which would cost half as much as the fastest of them.
        chance, now = random.Random(seed).random, time.perf_counter
        size, ids, get = len(self.ids), self.ids, self.store.get
        for _ in range(count):
            place = int(chance() * size)
            began = now()
            if mix.puts and chance() < mix.puts:
                await self.put(place, durable=mix.durable)
            else:
                record = await get(ids[place])
                if record is None or record.id != ids[place]:
                    sys.exit(f"session {place} is there, and was not got")
            taken_s.append(now() - began)

    async def scan(self) -> Figures:
        """Return how fast all records are read one after the other."""
        began, cpu = time.perf_counter(), time.process_time()
        count, cursor = 0, None
        while True:
            page = await self.store.scan(Query(), cursor=cursor, limit=SCANNED_AT_ONCE)
            count += len(page.records)
            cursor = page.cursor
            if cursor is None:
                break
        if count != len(self.ids):
            sys.exit(f"there are {len(self.ids)} sessions, a scan returned {count}")
        return speed(count, began, cpu)


async def together(tasks: list[Coroutine[Any, Any, None]], count: int) -> Figures:
    """Run tasks at once to their end; return how fast they did `count` acts."""
    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)
    return speed(count, began, cpu)


def speed(count: int, began: float, cpu: float) -> Figures:
    """Return how many acts a second there were, and the processor time of one, in all threads."""
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return {"ops_per_s": round(count / took_s), "cpu_us": round(cpu_s / count * 1e6, 2)}


def count_of(contestant: str, act: str, tasks: int, size: int) -> int:
    """Return how often an act is done, so that each takes about a second or two."""
    if contestant == "memory":
        return size * 3
    if act == "put durable" and tasks == 1:
        return size // 50
    return size // 5 if tasks == 1 else size


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def disk_bytes(folder: Path) -> int:
    """Return what the files in a folder take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


async def measured(contestant: str, size: int) -> Figures:
    """Return all figures of one store with as many sessions."""
    load = Load(size)
    figures: Figures = {"sessions": size, "ops": {}}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        before = resident_bytes()
        async with open_store(ADDRESSES[contestant].format(place=folder)) as load.store:
            figures["ops"]["create, 64"] = await load.fill()
            figures["resident_mb_filled"] = round((resident_bytes() - before) / 2**20, 1)
            for act, mix in ACTS.items():
                if mix.durable and contestant == "memory":
                    continue  # nothing in it is
                for tasks in TASKS:
                    count = count_of(contestant, act, tasks, size)
                    figures["ops"][f"{act}, {tasks}"] = await load.over_some(mix, count, tasks)
            figures["ops"]["scan"] = await load.scan()
            figures["resident_mb"] = round((resident_bytes() - before) / 2**20, 1)
            figures["disk_mb"] = round(disk_bytes(Path(folder)) / 2**20, 1)
    return figures


async def profiled(contestant: str, act: str, tasks: int, size: int) -> cProfile.Profile:
    """Return where the event loop's time of one act goes."""
    load, profile = Load(size), cProfile.Profile()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        async with open_store(ADDRESSES[contestant].format(place=folder)) as load.store:
            await load.fill()
            with profile:
                await load.over_some(ACTS[act], count_of(contestant, act, tasks, size), tasks)
    return profile
