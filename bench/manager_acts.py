"""What a session manager does in one process: how fast, for how long nobody else has a turn, and in how much memory.

`bench.manager` runs it. Everything is on: sessions that expire, a sweeper, metrics; a subscriber where it is asked for.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeAlias

from holdfast import Draft, EventsMissed, SessionManager
from holdfast.testing import ManualClock

Figures: TypeAlias = dict[str, Any]
Metadata: TypeAlias = dict[str, Any]
Act: TypeAlias = Callable[[Any], Awaitable[Any]]

METADATA: Final[Metadata] = {
    "user": "alice",
    "roles": ["admin", "dev"],
    "counter": 0,
    "client": {"name": "inspector", "version": "1.2.3"},
}
"""That of the Erlang baseline."""
TIMEOUT_S: Final = 3600.0
SAMPLE: Final = 20_000
TURN_EVERY: Final = 1000
REPEATED: Final = 5
OPERATIONS: Final = ("create", "touch", "get", "peek", "update", "set_timeout", "delete")


class Watch:
    """Notes the longest time for which the event loop gave nobody a turn while it was entered, in ms.

    `of_processor` is the most of this thread's processor time between two turns: there the machine's other programs
    are left out. `of_collector` is the longest collection of garbage.
    """

    def __init__(self) -> None:
        self.took_ms = self.cpu_ms = self.stall_ms = self.of_processor = self.of_collector = 0.0
        self._began = (0.0, 0.0)
        self._collecting = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        gc.callbacks.append(self._collected)
        self._looking = asyncio.create_task(self._look())
        await asyncio.sleep(0)
        self._began = both_times()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.took_ms, self.cpu_ms = ((now - began) * 1e3 for now, began in zip(both_times(), self._began, strict=True))
        await asyncio.sleep(0)  # so that the last stretch is seen too
        assert self._looking is not None
        self._looking.cancel()
        gc.callbacks.remove(self._collected)

    async def _look(self) -> None:
        clock, processor = both_times()
        while True:
            await asyncio.sleep(0)
            clock_now, processor_now = both_times()
            self.stall_ms = max(self.stall_ms, (clock_now - clock) * 1e3)
            self.of_processor = max(self.of_processor, (processor_now - processor) * 1e3)
            clock, processor = clock_now, processor_now

    def _collected(self, phase: str, _: object) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self.of_collector = max(self.of_collector, (time.perf_counter() - self._collecting) * 1e3)

    def stalls(self) -> Figures:
        """Return what is reported of it."""
        found = {"stall_ms": self.stall_ms, "of_processor_ms": self.of_processor, "of_collector_ms": self.of_collector}
        return {what: round(took, 2) for what, took in found.items()}


class Bench:
    """A manager, and the ids of its sessions in an order of no meaning."""

    def __init__(self, sessions: SessionManager[Metadata], size: int, clock: ManualClock | None) -> None:
        self.sessions = sessions
        self.clock = clock
        self._new = [""] * size  # 8 bytes each; there before memory is looked at, so they are not counted
        self.ids: tuple[str, ...] = ()
        self.told = 0
        self.profile: cProfile.Profile | None = None

    def count(self, event: object) -> None:
        """Be a subscriber."""
        self.told += not isinstance(event, EventsMissed)

    async def turn(self) -> None:
        """Give the event loop turns until the subscriber has what waits; one when there is none."""
        told = -1
        while told != self.told:
            told = self.told
            await asyncio.sleep(0)

    def act(self, name: str) -> Act:
        """Return what is measured under this name."""
        sessions = self.sessions
        acts: dict[str, Act] = {
            "update": lambda session_id: sessions.update(session_id, counted),
            "set_timeout": lambda session_id: sessions.set_timeout(session_id, TIMEOUT_S / 2),
        }
        return acts.get(name) or getattr(sessions, name)

    async def create_all(self) -> Figures:
        """Create every session; return how fast."""
        ids, create = self._new, self.sessions.create
        began = both_times()
        for start in range(0, len(ids), TURN_EVERY):
            for place in range(start, min(start + TURN_EVERY, len(ids))):
                ids[place] = (await create(METADATA)).id
            await self.turn()
        return speed(len(ids), began)

    def mix(self) -> None:
        """Put the ids in an order of no meaning, where the collector does not go through them each time."""
        ids = [*self._new, *self.ids]
        random.shuffle(ids)
        self.ids, self._new = tuple(ids), []
        gc.collect(0)  # it finds that a tuple of texts is nothing for it

    async def over_all(self, name: str) -> Figures:
        """Do it once with every session; return how fast."""
        ids, act = self.ids, self.act(name)
        began = both_times()
        for start in range(0, len(ids), TURN_EVERY):
            for session_id in ids[start : start + TURN_EVERY]:
                await act(session_id)
            await self.turn()
        return speed(len(ids), began)

    async def sample(self, name: str, items: list[Any], made: list[str] | None = None) -> Figures:
        """Do it with each item; return percentiles of what each took. Ids of what is created go to `made`."""
        act, taken_s = self.act(name), []
        for at, item in enumerate(items, 1):
            began = time.perf_counter()
            done = await act(item)
            taken_s.append(time.perf_counter() - began)
            if made is not None:
                made.append(done.id)
            if at % TURN_EVERY == 0:
                await self.turn()
        taken_s.sort()
        return {f"p{of}_us": round(taken_s[len(taken_s) * of // 100] * 1e6, 2) for of in (50, 95, 99)}

    async def all_ids(self) -> Figures:
        """Return how long `ids()` takes: the median of some calls, the longest stall of all."""
        took: list[tuple[float, float]] = []
        watch = Watch()
        for _ in range(REPEATED):
            async with watch:
                found = await self.sessions.ids()
            took.append((watch.took_ms, watch.cpu_ms))
            check(len(found) == len(self.ids), f"there are {len(self.ids)} sessions, ids() returned {len(found)}")
            del found  # else it would be freed while the next one is measured
        return usual(took) | watch.stalls()

    async def scan(self) -> Figures:
        """Return how fast sessions are read one after the other."""
        count = 0
        async with Watch() as watch:
            async for _ in self.sessions.scan():
                count += 1
        check(count == len(self.ids), f"there are {len(self.ids)} sessions, a scan yielded {count}")
        per_s, cpu_us = round(count / watch.took_ms * 1e3), round(watch.cpu_ms / count * 1e3, 3)
        return {"sessions_per_s": per_s, "cpu_us": cpu_us} | watch.stalls()

    async def sweep(self) -> Figures:
        """Return how long it takes to delete a tenth that is expired: the median of some, the longest stall of all."""
        took: list[tuple[float, float]] = []
        watch = Watch()
        while len(took) < REPEATED:
            count = await self._expire_a_tenth()
            async with watch:
                with self.profile or nullcontext():
                    swept = await self.sessions.cleanup_expired()
            left = len(await self.sessions.ids())
            check(left == len(self.ids), f"there are {left} sessions after a sweep; {len(self.ids)} are not expired")
            if swept == count:  # else the manager's own sweeper was there at the same time
                took.append((watch.took_ms, watch.cpu_ms))
            self._new = [""] * count
            await self.create_all()
            self.mix()
        return {"sessions": count} | usual(took) | watch.stalls()

    async def _expire_a_tenth(self) -> int:
        """Let some anywhere among all expire, each tenth of them in another second; return how many."""
        assert self.clock is not None
        count = len(self.ids) // 10
        for place in range(count):
            await self.sessions.set_timeout(self.ids[place], 1 + place % 10)
        self.ids = self.ids[count:]
        gc.collect(0)
        self.clock.advance(11)
        return count


def both_times() -> tuple[float, float]:
    """Return the time of the clock and of this thread's processor."""
    return time.perf_counter(), time.thread_time()


def speed(count: int, began: tuple[float, float]) -> Figures:
    """Return how many acts a second there were, and the processor time of one."""
    took_s, cpu_s = (now - then for now, then in zip(both_times(), began, strict=True))
    return {"ops_per_s": round(count / took_s), "cpu_us": round(cpu_s / count * 1e6, 3)}


def usual(took: list[tuple[float, float]]) -> Figures:
    """Return the medians of times of the clock and of the processor."""
    clock, processor = zip(*took, strict=True)
    return {"ms": round(statistics.median(clock), 2), "cpu_ms": round(statistics.median(processor), 2)}


def counted(draft: Draft[Metadata]) -> Draft[Metadata]:
    """Change what an update changes."""
    draft.metadata["counter"] += 1
    return draft


def check(holds: bool, otherwise: str) -> None:
    """End this process if what it measures does not do its work."""
    if not holds:
        sys.exit(otherwise)


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def bench_of(size: int, clock: ManualClock | None = None) -> AsyncIterator[Bench]:
    """Give a bench whose manager has no sessions yet."""
    manager = SessionManager[Metadata]
    async with manager.open("memory://", default_timeout=TIMEOUT_S, clock=clock) as sessions:
        yield Bench(sessions, size, clock)


async def operations(size: int, *, subscribed: bool = False) -> Figures:
    """Return all figures of a manager with as many sessions."""
    async with bench_of(size) as bench:
        subscription = bench.sessions.subscribe(bench.count) if subscribed else None
        ops: dict[str, Figures] = {name: {} for name in OPERATIONS}
        figures: Figures = {"sessions": size, "ops": ops}
        before = resident_bytes()
        ops["create"] |= await bench.create_all()
        created = resident_bytes() - before
        bench.mix()
        before = resident_bytes()
        ops["touch"] |= await bench.over_all("touch")
        touched = resident_bytes() - before
        figures |= {"bytes_created": round(created / size), "bytes_touched": round((created + touched) / size)}
        figures |= {"ids": await bench.all_ids(), "scan": await bench.scan()}
        for name in OPERATIONS[2:-1]:
            ops[name] |= await bench.over_all(name)
        counter = (await bench.sessions.peek(bench.ids[0])).metadata["counter"]
        check(counter == 1, f"a session was updated once, its counter is {counter}")
        await samples(bench, ops)
        ops["delete"] |= await bench.over_all("delete")
        left = await bench.sessions.ids()
        check(not left, f"all sessions were deleted, {len(left)} are there")
        if subscription is not None:
            figures["events"] = {"told": bench.told, "missed": subscription.missed}
        return figures


async def samples(bench: Bench, ops: dict[str, Figures]) -> None:
    """Add how long single ones take; what is created for that is deleted again, so that there are as many sessions."""
    made: list[str] = []
    few = list(bench.ids[:SAMPLE])
    ops["create"] |= await bench.sample("create", [METADATA] * len(few), made)
    for name in OPERATIONS[1:-1]:
        ops[name] |= await bench.sample(name, few)
    ops["delete"] |= await bench.sample("delete", made)


async def sweep(size: int) -> Figures:
    """Return the figures of sweeps of a tenth of as many sessions."""
    async with bench_of(size, ManualClock()) as bench:
        await bench.create_all()
        bench.mix()
        return await bench.sweep()


async def profiled(name: str, size: int) -> cProfile.Profile:
    """Return where the time of one operation, or of `ids`, `scan` or `sweep`, goes."""
    profile = cProfile.Profile()
    async with bench_of(size, ManualClock() if name == "sweep" else None) as bench:
        with profile if name == "create" else nullcontext():
            await bench.create_all()
        bench.mix()
        if name == "sweep":
            bench.profile = profile  # for what is expired anew before each sweep is not looked at
            await bench.sweep()
        elif name != "create":
            long = {"ids": bench.all_ids, "scan": bench.scan}
            with profile:
                await (long[name]() if name in long else bench.over_all(name))
    return profile
