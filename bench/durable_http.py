"""Time durable commits of a real server while its loop is busy, and print one JSON line.

    python -m bench.durable_http [--seconds 8] [--connections 16]

While CONNECTIONS connections call the echo tool, sessions are opened one after the other; what is timed is the 202 for
`notifications/initialized`, which is sent when the handshake's end is on the disk (one fsynced commit) and the message
is in the keeper's hands, HTTP included. Needs wrk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time

from bench.http_load import INITIALIZE, INITIALIZED, drive, open_session, post
from bench.peers import installed
from bench.started import leave_on_sigterm, running


def commits_ms(url: str, stop: threading.Event) -> list[float]:
    """Return how long each commit took until `stop`."""
    took = []
    while not stop.is_set():
        session, _ = post(url, INITIALIZE)
        began = time.perf_counter()
        post(url, INITIALIZED, session)
        took.append((time.perf_counter() - began) * 1000)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    leave_on_sigterm()
    holdfast = next(peer for peer in installed() if peer.name == "holdfast")
    with running(holdfast) as started:
        url = started.url
        sessions = [open_session(url) for _ in range(16)]
        stop, took = threading.Event(), []
        committing = threading.Thread(target=lambda: took.extend(commits_ms(url, stop)))
        committing.start()
        load = drive(url, sessions, options.connections, options.seconds)
        stop.set()
        committing.join()
    percentiles = statistics.quantiles(took, n=100)
    figures = {"commits": len(took), "p50_ms": percentiles[49], "p99_ms": percentiles[98], "max_ms": max(took)}
    rounded = {name: round(value, 2) for name, value in figures.items()}
    print(json.dumps({"name": "durable commit under load"} | rounded | {"rps": load["rps"]}))


if __name__ == "__main__":
    main()
