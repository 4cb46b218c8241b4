"""How long a durable write, and a journal append, waits while 16 tasks keep the event loop busy. Prints one JSON line.

    PYTHONPATH=src python bench/commit_latency.py [--seconds 5] [--dir DIR]

Each of 16 busy tasks computes for about 100 µs and lets the others run; 16 more tasks write, one write at a time each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from holdfast.model import Record, new_session_id
from holdfast.stores.contract import Entry, Kind, append_to
from holdfast.stores.sqlite import SqliteStore

TASKS = 16
SLICE_S = 100e-6


async def busy(until: float) -> None:
    while time.perf_counter() < until:
        ends_at = time.perf_counter() + SLICE_S
        while time.perf_counter() < ends_at:
            pass
        await asyncio.sleep(0)


async def timed(until: float, write: Callable[[int], Awaitable[None]], taken_s: list[float]) -> None:
    at = 0
    while (began := time.perf_counter()) < until:
        await write(at)
        taken_s.append(time.perf_counter() - began)
        at += 1


async def measure(store: SqliteStore, kind: str, seconds: float, *, loaded: bool) -> dict[str, float]:
    until = time.perf_counter() + seconds
    taken_s: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            write = await (putter if kind == "put" else appender)(store)
            group.create_task(timed(until, write, taken_s))
            if loaded:
                group.create_task(busy(until))
    taken_s.sort()
    return {
        "writes_per_s": round(len(taken_s) / seconds),
        "p50_ms": round(taken_s[len(taken_s) // 2] * 1e3, 2),
        "p99_ms": round(taken_s[len(taken_s) * 99 // 100] * 1e3, 2),
        "max_ms": round(taken_s[-1] * 1e3, 2),
    }


def record(session_id: str, version: int) -> Record:
    now = time.time()
    return Record(session_id, version, 1, now, now, 3600.0, None, None, frozenset(), "active", None, b"x" * 200)


async def putter(store: SqliteStore) -> Callable[[int], Awaitable[None]]:
    session_id = new_session_id()
    return lambda at: store.put(record(session_id, at + 1), expect=at, durable=True)


async def appender(store: SqliteStore) -> Callable[[int], Awaitable[None]]:
    session_id = new_session_id()
    await store.put(record(session_id, 1), expect=0)
    return lambda at: append_to(store, session_id, 1, [Entry("s", 1, at, Kind.MESSAGE, time.time(), b"x" * 300)])


async def main(seconds: float, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        async with SqliteStore.open(Path(place) / "bench.db") as store:
            results = {
                f"{kind} {'busy' if loaded else 'idle'} loop": await measure(store, kind, seconds, loaded=loaded)
                for kind in ("put", "append")
                for loaded in (False, True)
            }
    print(json.dumps({"name": "commits of the store alone"} | results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--dir", help="where the file is made; its disk is what is measured")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.seconds, arguments.dir))
