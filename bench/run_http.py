"""Measure Holdfast beside an empty app and beside the other gateways installed, in turn, in one run.

    python -m bench.run_http [--rounds 3] [--seconds 5] [--sessions 16] [--connections 16] [--only NAME]...

Holdfast takes part as it comes, with a static token on, and with every answer a journaled stream. Prints one JSON line
for the machine, one for each contestant (means over the rounds, the worst p99), one with the ratios, each the mean of
the ratios within a round, and one with the targets beside what was reached. Absolute figures of a shared machine vary
up to twofold from run to run: quote the ratios. Needs wrk; `make bench-peers` installs the other gateways.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench.peers import BENCH, Peer, installed
from bench.started import leave_on_sigterm, running

Figures = dict[str, Any]

TARGETS: Final = {
    "holdfast / empty": 0.40,
    "holdfast, token / empty": 0.40,
    "holdfast, streams / empty": 0.25,
    "holdfast / supergateway": 6.0,
}
"""The least a ratio of rates shall be."""


def one_round(peer: Peer, load: list[str]) -> Figures:
    """Return what one round of load on a freshly started contestant measured, or why there is nothing."""
    try:
        with running(peer) as started:
            command = [sys.executable, str(BENCH / "http_load.py"), started.url, *load, "--server", str(started.pid)]
            command += ["--token", peer.token] if peer.token else []
            command += ["--one-answer"] if peer.one_answer else []
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            log = (started.place / "log").read_text(errors="replace")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return {"failed": str(error)}
    if run.returncode:
        return {"failed": f"{(run.stderr or run.stdout).strip()[-500:]}; its last words: {log[-300:]}"}
    figures: Figures = json.loads(run.stdout)
    return figures


def summed_up(peer: Peer, rounds: list[Figures]) -> Figures:
    """Return one contestant's line."""
    if failed := [figures["failed"] for figures in rounds if "failed" in figures]:
        return {"name": peer.name, "failed": failed[0]}
    return {
        "name": peer.name,
        "rps": round(statistics.mean(figures["rps"] for figures in rounds), 1),
        "p50_ms": round(statistics.mean(figures["p50_ms"] for figures in rounds), 3),
        "p99_ms": max(figures["p99_ms"] for figures in rounds),
        "server_cpu_us": round(statistics.mean(figures["server_cpu_us"] for figures in rounds), 1),
        "bytes_per_answer": rounds[0]["bytes_per_answer"],
        "open_session_ms": round(statistics.mean(figures["open_session_ms"] for figures in rounds), 2),
        "errors": sum(figures["not_2xx"] + figures["socket_errors"] for figures in rounds),
        "rounds": [figures["rps"] for figures in rounds],
    }


def ratios(rounds: dict[str, list[Figures]]) -> dict[str, list[float]]:
    """Return each Holdfast's rate as a multiple of everybody else's, round by round."""
    sound = {name: found for name, found in rounds.items() if not any("failed" in figures for figures in found)}
    ours = [name for name in sound if name.startswith("holdfast")]
    return {
        f"{our} / {their}": [a["rps"] / b["rps"] for a, b in zip(sound[our], sound[their], strict=True)]
        for our in ours
        for their in sound.keys() - set(ours)
    }


def reached(found: dict[str, list[float]]) -> Figures:
    """Return each target beside what was reached, in every round too; what did not take part is left out."""
    return {
        what: {
            "at_least": least,
            "reached": round(statistics.mean(found[what]), 3),
            "met": statistics.mean(found[what]) >= least,
            "rounds": [round(ratio, 3) for ratio in found[what]],
        }
        for what, least in TARGETS.items()
        if what in found
    }


def machine() -> Figures:
    """Return what the figures were measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "machine": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", metavar="NAME", help="one contestant; may be given several times")
    for name, default in (("seconds", 5), ("sessions", 16), ("connections", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    leave_on_sigterm()
    load = [f"--{name}={getattr(options, name)}" for name in ("seconds", "sessions", "connections")]
    peers = [peer for peer in installed() if not options.only or peer.name in options.only]
    rounds: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    print(json.dumps(machine()), flush=True)
    for number in range(options.rounds):
        for peer in peers if number % 2 == 0 else reversed(peers):  # so that a drift of the machine favours nobody
            rounds[peer.name].append(one_round(peer, load))
    for peer in peers:
        print(json.dumps(summed_up(peer, rounds[peer.name])))
    found = ratios(rounds)
    print(json.dumps({"ratios": {what: round(statistics.mean(all_), 3) for what, all_ in sorted(found.items())}}))
    print(json.dumps({"targets": reached(found)}))
    if any("failed" in figures for figures_of in rounds.values() for figures in figures_of):
        sys.exit(1)


if __name__ == "__main__":
    main()
