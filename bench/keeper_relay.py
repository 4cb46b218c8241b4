"""Measure what the keeper costs: echoes through the whole server, with it and with pipes of the server's own.

    python -m bench.keeper_relay [--rounds 6] [--seconds 4] [--sessions 16] [--connections 16]

Four contestants take turns in one run: Holdfast as it comes and with every answer a journaled stream, each with the
keeper and with its workers on pipes of its own (bench/keeper_pipes.py). Prints one JSON line for each (means over the
rounds, the worst p99) and one with the targets: the median of the ratios within a round, which a disturbance of one
round does not move. Needs wrk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any, Final

from bench.peers import BENCH, ECHO_COMMAND, Peer, holdfast
from bench.run_http import one_round, summed_up
from bench.started import leave_on_sigterm

RATIO_MIN: Final = 0.9
STREAMS: Final = ("--answer", "stream")


def on_pipes(*options: str) -> tuple[str, ...]:
    """Return the command that serves with these options and no keeper."""
    program = (sys.executable, str(BENCH / "keeper_pipes.py"), "serve")
    return (*program, "--port", "{port}", "--data", "{data}", *options, "--", *ECHO_COMMAND)


PEERS: Final = (
    Peer("keeper", holdfast()),
    Peer("pipes", on_pipes()),
    Peer("keeper, streams", holdfast(*STREAMS)),
    Peer("pipes, streams", on_pipes(*STREAMS)),
)


def target(rounds: dict[str, list[dict[str, Any]]], kind: str) -> dict[str, Any]:
    """Return what the rate with the keeper is of that with pipes, beside what it shall be."""
    pairs = zip(rounds[f"keeper{kind}"], rounds[f"pipes{kind}"], strict=True)
    found = [ours["rps"] / pipes["rps"] for ours, pipes in pairs]
    middle = statistics.median(found)
    return {
        "at_least": RATIO_MIN,
        "reached": round(middle, 3),
        "met": middle >= RATIO_MIN,
        "rounds": [round(ratio, 3) for ratio in found],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 6), ("seconds", 4), ("sessions", 16), ("connections", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    leave_on_sigterm()
    load = [f"--{name}={getattr(options, name)}" for name in ("seconds", "sessions", "connections")]
    rounds: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in PEERS}
    for number in range(options.rounds):
        for peer in PEERS if number % 2 == 0 else reversed(PEERS):  # so that a drift of the machine favours nobody
            rounds[peer.name].append(one_round(peer, load))
    for peer in PEERS:
        print(json.dumps(summed_up(peer, rounds[peer.name])))
    if any("failed" in figures for found in rounds.values() for figures in found):
        sys.exit(1)
    targets = {f"echoes with the keeper / with pipes{kind}": target(rounds, kind) for kind in ("", ", streams")}
    print(json.dumps({"targets": targets}))


if __name__ == "__main__":
    main()
