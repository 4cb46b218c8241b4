"""Measure Holdfast beside an empty app and beside the other gateways installed, in turn, in one run.

    python -m bench.run_http [--rounds 2] [--seconds 5] [--sessions 16] [--connections 16] [--only NAME]...

Prints one JSON line for the machine, one for each contestant (means over the rounds, the worst p99), and one with the
ratios, each the mean of the ratios within a round. Absolute figures of a shared machine vary up to twofold from run to
run: quote the ratios. Needs wrk; `make bench-peers` installs the other gateways.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.peers import BENCH, Peer, installed

READY_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 0.02
END_WITHIN_S: Final = 15.0

Figures = dict[str, Any]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[int]:
    """Start `peer` on a free port with a fresh data directory; give the port; end it with all it started."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place:
        port = free_port()
        with Path(place, "log").open("wb") as log:
            command = peer.started_with(port, Path(place, "data"))
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_it_listens(peer, port, process, Path(place, "log"))
            yield port
        finally:
            end(process)


def wait_until_it_listens(peer: Peer, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once something accepts on the port."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"{peer.name} does not listen: {log.read_text(errors='replace')[-500:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then kill its whole group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_WITHIN_S)


def one_round(peer: Peer, load: list[str]) -> Figures:
    """Return what one round of load on a freshly started contestant measured, or why there is nothing."""
    try:
        with running(peer) as port:
            url = f"http://127.0.0.1:{port}/mcp"
            command = [sys.executable, str(BENCH / "http_load.py"), url, *load]
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except (OSError, RuntimeError) as error:
        return {"failed": str(error)}
    if run.returncode:
        return {"failed": (run.stderr or run.stdout).strip()[-500:]}
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
        "open_session_ms": round(statistics.mean(figures["open_session_ms"] for figures in rounds), 2),
        "errors": sum(figures["not_2xx"] + figures["socket_errors"] for figures in rounds),
        "rounds": [figures["rps"] for figures in rounds],
    }


def ratios(rounds: dict[str, list[Figures]]) -> Figures:
    """Return Holdfast's rate as a multiple of everybody else's, round by round, and the p99 beside each other."""
    lines: Figures = {}
    sound = {name: found for name, found in rounds.items() if not any("failed" in figures for figures in found)}
    for name, found in sound.items():
        if name != "holdfast" and "holdfast" in sound:
            pairs = zip(sound["holdfast"], found, strict=True)
            lines[f"holdfast/{name}"] = round(statistics.mean(ours["rps"] / theirs["rps"] for ours, theirs in pairs), 3)
    return {"ratios": lines, "p99_ms": {name: max(f["p99_ms"] for f in found) for name, found in sound.items()}}


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
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", action="append", metavar="NAME", help="one contestant; may be given several times")
    for name, default in (("seconds", 5), ("sessions", 16), ("connections", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    load = [f"--{name}={getattr(options, name)}" for name in ("seconds", "sessions", "connections")]
    peers = [peer for peer in installed() if not options.only or peer.name in options.only]
    rounds: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    print(json.dumps(machine()), flush=True)
    for _ in range(options.rounds):
        for peer in peers:
            rounds[peer.name].append(one_round(peer, load))
    for peer in peers:
        print(json.dumps(summed_up(peer, rounds[peer.name])))
    print(json.dumps(ratios(rounds)))
    if any("failed" in figures for found in rounds.values() for figures in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
