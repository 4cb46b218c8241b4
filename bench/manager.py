"""Measure the session manager as a library: its operations, its long ones, and its memory, beside Erlang's engines.

    python -m bench.manager [--rounds 3] [--sessions 100000] [--profile OP]

Everything is on: `memory://`, sessions that expire, a sweeper, metrics. Each round runs, in processes of their own: a
manager with these sessions, the same with a subscriber that counts events, one with ten times as many, sweeps of a
tenth of them, and where there is `escript` the Erlang baseline. Each second round goes backwards. Prints a JSON line
for the machine, for whatever ran in a round, for each contestant (medians over the rounds), one with the ratios, each
the median of the ratios within a round, and one with the targets beside what was reached. --profile lists on stderr
where the time of one operation goes, and measures nothing.
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
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.manager_acts import OPERATIONS, Figures, operations, profiled, sweep
from bench.peers import BENCH
from bench.run_http import machine
from bench.started import end, leave_on_sigterm

SESSIONS: Final = 100_000
CHILD_WITHIN_S: Final = 900.0
ERLANG_WITHIN_S: Final = 300.0
END_WITHIN_S: Final = 2.0

RATES: Final = {"create": 200_000, "get": 350_000, "update": 180_000, "touch": 400_000}
"""The least of each a second, without a subscriber."""
BESIDE_ERLANG: Final = {"create": 1.3, "get": 2.0, "update": 1.3}
"""The least that our rate shall be as a multiple of the Erlang manager's."""
COMPARED: Final = ("create", "get", "update", "touch", "delete")
GROWN_MAX: Final = 1.6
IDS_MS_MAX: Final = 45.0
SWEEP_MS_MAX: Final = 30.0
STALL_MS_MAX: Final = 5.0
BYTES_MAX: Final = 600.0

CHILDREN: Final[dict[str, Callable[[int], Coroutine[Any, Any, Figures]]]] = {
    "sweep": sweep,
    "ten times": lambda size: operations(size * 10),
    "holdfast": operations,
    "subscriber": partial(operations, subscribed=True),
}

Rounds = dict[str, list[Figures]]


def in_child(name: str, size: int) -> Figures:
    """Return what one contestant measures in a process of its own; end this one when it fails."""
    command = [sys.executable, "-m", "bench.manager", "--one", name, "--sessions", str(size)]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=CHILD_WITHIN_S)
    if run.returncode:
        sys.exit(f"{name} failed: exit code {run.returncode}")
    figures: Figures = json.loads(run.stdout)
    return figures


def erlang(size: int) -> Figures:
    """Return what the Erlang baseline says of ETS and of a manager, or why there is nothing."""
    found: Figures = {"ets": {}, "manager": {}}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as folder:
        command = ["escript", str(BENCH / "erlang_baseline.escript"), str(size)]
        env = {**os.environ, "TMPDIR": folder}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True)
        late = threading.Timer(ERLANG_WITHIN_S, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                with suppress(ValueError, KeyError):
                    said = json.loads(line)
                    found[said.pop("engine")][said.pop("op")] = said.pop("value", said)
                if "delete" in found["manager"]:  # the last that is wanted
                    return found
            process.wait()
        finally:
            late.cancel()
            process.kill()  # told to end, it would complain that it could not go on
            end(process, END_WITHIN_S)
    return {"failed": f"escript ended with {process.returncode} before all was measured"}


def rate(figures: Figures, name: str) -> float:
    """Return how many of these a second there were."""
    return float(figures["ops"][name]["ops_per_s"])


def ratios(rounds: Rounds) -> dict[str, list[float]]:
    """Return what is compared, round by round; what did not take part is left out. A cost is processor time."""
    ours, large, subscribed = rounds["holdfast"], rounds["ten times"], rounds["subscriber"]
    theirs = [figures["manager"] for figures in rounds.get("erlang", ()) if "failed" not in figures]
    found: dict[str, list[float]] = {}
    for name in COMPARED:
        if len(theirs) == len(ours):
            pairs = zip(ours, theirs, strict=True)
            found[f"{name}: holdfast / erlang"] = [rate(a, name) / b[name]["ops_per_s"] for a, b in pairs]
    for what, others in (("with ten times as many", large), ("with a subscriber", subscribed)):
        for name in COMPARED:
            pairs = zip(others, ours, strict=True)
            found[f"{name}: cost {what}"] = [a["ops"][name]["cpu_us"] / b["ops"][name]["cpu_us"] for a, b in pairs]
    return found


@dataclass(frozen=True)
class Target:
    """What was found in each round, and what it shall be; of stalls the longest counts, else the median."""

    rounds: list[float]
    bound: float
    at_least: bool = False
    longest: bool = False

    def reached(self) -> Figures:
        """Return the bound beside what was reached."""
        value = max(self.rounds) if self.longest else statistics.median(self.rounds)
        return {
            "at_least" if self.at_least else "at_most": self.bound,
            "reached": round(value, 3),
            "met": value >= self.bound if self.at_least else value <= self.bound,
            "rounds": [round(each, 3) for each in self.rounds],
        }


def targets(rounds: Rounds, compared: dict[str, list[float]], size: int) -> dict[str, Target]:
    """Return all targets; with another number of sessions, times of what goes through them all are scaled."""
    ours, large, swept = rounds["holdfast"], rounds["ten times"], rounds["sweep"]
    scale = size / SESSIONS
    found = {f"{name}, per s": Target([rate(a, name) for a in ours], least, True) for name, least in RATES.items()}
    for name, least in BESIDE_ERLANG.items():
        if (what := f"{name}: holdfast / erlang") in compared:
            found[what] = Target(compared[what], least, True)
    for name in COMPARED:
        what = f"{name}: cost with ten times as many"
        found[what] = Target(compared[what], GROWN_MAX)
    found[f"ids of {size * 10:,}, ms"] = Target([a["ids"]["ms"] for a in large], IDS_MS_MAX * scale)
    what = f"sweep of {size // 10:,}"
    found[f"{what}, ms"] = Target([a["ms"] for a in swept], SWEEP_MS_MAX * scale)
    found[f"{what}, longest stall, ms"] = Target([a["stall_ms"] for a in swept], STALL_MS_MAX, longest=True)
    of_processor = [a["of_processor_ms"] for a in swept]
    found[f"{what}, longest stall, ms of processor"] = Target(of_processor, STALL_MS_MAX, longest=True)
    for figures, count in ((ours, size), (large, size * 10)):
        for when in ("created", "touched"):
            found[f"bytes of one of {count:,}, {when}"] = Target([a[f"bytes_{when}"] for a in figures], BYTES_MAX)
    return {f"manager, {what}": target for what, target in found.items()}


def medians(of: list[Any]) -> Any:
    """Return figures of the same form as those of each round."""
    if isinstance(of[0], dict):
        return {what: medians([figures[what] for figures in of]) for what in of[0]}
    return round(statistics.median(of), 3)


def measure(rounds: int, size: int) -> None:
    """Run all contestants in turn and print what comes of it."""
    names = list(CHILDREN)
    if shutil.which("escript"):
        names.insert(names.index("holdfast") + 1, "erlang")  # the two are compared: one follows the other
    found: Rounds = {name: [] for name in names}
    print(json.dumps(machine()), flush=True)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):  # so that a drift of the machine favours nobody
            figures = erlang(size) if name == "erlang" else in_child(name, size)
            found[name].append(figures)
            print(json.dumps({"name": f"manager, {name}", "round": number + 1} | figures), flush=True)
    for name, all_ in found.items():
        failed = [figures for figures in all_ if "failed" in figures]
        print(json.dumps({"name": f"manager, {name}"} | (failed[0] if failed else medians(all_))))
    compared = ratios(found)
    print(json.dumps({"ratios": {what: round(statistics.median(all_), 3) for what, all_ in compared.items()}}))
    reached = {what: target.reached() for what, target in targets(found, compared, size).items()}
    print(json.dumps({"targets": reached}))


def main() -> None:
    known = [*OPERATIONS, "ids", "scan", "sweep"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--profile", choices=known, metavar="OP", help=f"one of {', '.join(known)}")
    parser.add_argument("--one", choices=CHILDREN, metavar="NAME", help=f"one contestant alone: {', '.join(CHILDREN)}")
    options = parser.parse_args()
    leave_on_sigterm()
    if options.profile:
        profile = asyncio.run(profiled(options.profile, options.sessions))
        pstats.Stats(profile, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(25)
    elif options.one:
        print(json.dumps(asyncio.run(CHILDREN[options.one](options.sessions))))
    else:
        measure(options.rounds, options.sessions)


if __name__ == "__main__":
    main()
