"""Measure every store at its own contract, beside ETS, DETS and Mnesia where there is `escript`.

    python -m bench.stores [--rounds 3] [--sessions 100000] [--profile ACT --one STORE --tasks N]

Each round runs each contestant in a process of its own, each second round backwards: 100,000 sessions of 300 bytes of
metadata; get, put and nine gets to one put by 1 and by 64 tasks, sessions by chance, durable and not; a scan of all.
Prints a JSON line for the machine, for each contestant in a round, for each contestant (medians over the rounds), one
with the ratios, each the median of the ratios within a round, and one with the targets beside what was reached.
--profile lists on stderr where the event loop's time of one act goes, and measures nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from bench.manager import Target, medians
from bench.peers import BENCH
from bench.run_http import machine
from bench.started import leave_on_sigterm
from bench.stores_acts import ACTS, ADDRESSES, Figures, measured, profiled

SESSIONS: Final = 100_000
CHILD_WITHIN_S: Final = 600.0
ENGINES: Final = ("ets", "dets", "mnesia_ram", "mnesia_disc", "mnesia_dirty")

MEMORY_P95_US: Final = 10.0
RATES: Final = {
    ("memory", "get, 1"): 500_000,
    ("memory", "mixed, 1"): 500_000,
    ("sqlite full", "mixed, 1"): 5_000,
    ("sqlite full", "mixed, 64"): 50_000,
    ("sqlite full", "put durable, 64"): 20_000,
    ("leveldb", "mixed, 64"): 60_000,
    ("leveldb", "put, 64"): 100_000,
    ("rocksdb", "mixed, 64"): 60_000,
    ("rocksdb", "put, 64"): 100_000,
}
"""The least of each a second."""
BESIDE_ERLANG: Final = 2.0
"""The least that our rate shall be as a multiple of that of what Erlang has for it, at the same durability."""
COMPARED: Final = tuple(
    (ours, theirs, act)
    for ours in ("sqlite full", "leveldb", "rocksdb")
    for theirs in ("dets", "mnesia_disc")
    for act in ("put, 64", "put durable, 64", "mixed, 64", "mixed durable, 64")
)
SHOWN: Final = (
    ("memory", "ets", "get, 1"),
    ("memory", "ets", "put, 1"),
    ("memory", "mnesia_ram", "mixed, 1"),
    ("sqlite full", "dets", "put durable, 1"),
    ("sqlite full", "mnesia_disc", "put durable, 1"),
)
"""Ratios without a target. One writer waits for the disk in each act, and there is but one disk."""

Rounds = dict[str, list[Figures]]


def of_ours(name: str, size: int) -> Figures:
    """Return what one store measures in a process of its own; end this one when it fails."""
    command = [sys.executable, "-m", "bench.stores", "--one", name, "--sessions", str(size)]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=CHILD_WITHIN_S)
    if run.returncode:
        sys.exit(f"{name} failed: exit code {run.returncode}")
    figures: Figures = json.loads(run.stdout)
    return figures


def of_erlang(name: str, size: int) -> Figures:
    """Return what one of Erlang's engines measures; end this process when it fails."""
    found: Figures = {"sessions": size, "ops": {}}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as folder:
        command = ["escript", str(BENCH / "stores_baseline.escript"), str(size), name]
        env = {**os.environ, "TMPDIR": folder}
        run = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=CHILD_WITHIN_S, env=env)
    if run.returncode:
        sys.exit(f"{name} failed: exit code {run.returncode}")
    for line in run.stdout.splitlines():
        with suppress(ValueError):  # Mnesia tells when it is busy
            said = json.loads(line)
            op = said.pop("op")
            if "value" in said:
                found[op] = said["value"]
            else:
                found["ops"][op] = said
    return found


def rates(rounds: Rounds, name: str, act: str) -> list[float]:
    """Return how many a second there were in each round; nothing of what did not take part."""
    return [float(figures["ops"][act]["ops_per_s"]) for figures in rounds.get(name, ())]


def ratios(rounds: Rounds, compared: Iterable[tuple[str, str, str]]) -> dict[str, list[float]]:
    """Return our rate as a multiple of theirs, round by round; what did not take part is left out."""
    found = {
        f"{act}: {ours} / {theirs}": [
            a / b for a, b in zip(rates(rounds, ours, act), rates(rounds, theirs, act), strict=False)
        ]
        for ours, theirs, act in compared
    }
    return {what: each for what, each in found.items() if each}


def targets(rounds: Rounds) -> dict[str, Any]:
    """Return the bound of each target beside what was reached."""
    found = {
        f"{name}: {act}, per s": Target(rates(rounds, name, act), least, True)
        for (name, act), least in RATES.items()
        if name in rounds
    }
    if "memory" in rounds:
        p95 = [figures["ops"]["mixed, 1"]["p95_us"] for figures in rounds["memory"]]
        found["memory: mixed, 1, p95 in us"] = Target(p95, MEMORY_P95_US)
    found |= {what: Target(each, BESIDE_ERLANG, True) for what, each in ratios(rounds, COMPARED).items()}
    return {f"stores, {what}": target.reached() for what, target in found.items()}


def measure(rounds: int, size: int, only: list[str]) -> None:
    """Run all contestants in turn and print what comes of it."""
    names = [*ADDRESSES, *(ENGINES if shutil.which("escript") else ())]
    names = [name for name in names if not only or name in only]
    found: Rounds = {name: [] for name in names}
    print(json.dumps(machine()), flush=True)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):  # so that a drift of the machine favours nobody
            figures = of_ours(name, size) if name in ADDRESSES else of_erlang(name, size)
            found[name].append(figures)
            print(json.dumps({"name": f"stores, {name}", "round": number + 1} | figures), flush=True)
    for name, all_ in found.items():
        print(json.dumps({"name": f"stores, {name}"} | medians(all_)))
    compared = ratios(found, [*SHOWN, *COMPARED])
    print(json.dumps({"ratios": {what: round(statistics.median(each), 2) for what, each in compared.items()}}))
    print(json.dumps({"targets": targets(found)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "only", nargs="*", metavar="CONTESTANT", help=f"{', '.join([*ADDRESSES, *ENGINES])}; all without"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--one", choices=ADDRESSES, metavar="STORE", help="one store alone, in this process")
    parser.add_argument("--profile", choices=ACTS, metavar="ACT", help=f"with --one: {', '.join(ACTS)}")
    parser.add_argument("--tasks", type=int, default=64, help="with --profile")
    options = parser.parse_args()
    leave_on_sigterm()
    if options.profile and options.one:
        profile = asyncio.run(profiled(options.one, options.profile, options.tasks, options.sessions))
        pstats.Stats(profile, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(25)
    elif options.one:
        print(json.dumps(asyncio.run(measured(options.one, options.sessions))))
    else:
        measure(options.rounds, options.sessions, options.only)


if __name__ == "__main__":
    main()
