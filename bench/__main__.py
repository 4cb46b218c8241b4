"""Run all benchmarks one after the other, each in a process of its own, and print the JSON lines of all.

    python -m bench [--quick] [PART]...

A part that fails says why on stderr and does not keep the others from running; then the exit code is 1. Whatever a part
started and left is ended behind it. --quick takes a minute or two and tells whether everything runs, not how fast.
The last line gathers the targets of all parts beside what was reached: a target that is missed is no failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import Any, Final

from bench.started import end, end_all_in, leave_on_sigterm

PART_WITHIN_S: Final = 1800.0
END_WITHIN_S: Final = 150.0  # thousands of workers end in it
LEFT_WITHIN_S: Final = 30.0


@dataclass(frozen=True)
class Part:
    """One benchmark: its module, and what it is given to be quick."""

    name: str
    module: str
    quick: tuple[str, ...]


PARTS: Final = (
    Part("http", "bench.run_http", ("--rounds", "1", "--seconds", "1")),
    Part("idle", "bench.idle_streams", ("--streams", "100", "--seconds", "16", "--calm", "1")),
    Part("edge", "bench.edge_alone", ("--rounds", "2", "--requests", "800")),
    Part("commits", "bench.durable_http", ("--seconds", "1")),
    Part("store", "bench.commit_latency", ("--seconds", "1")),
    Part("manager", "bench.manager", ("--rounds", "1", "--sessions", "20000")),
    Part("stores", "bench.stores", ("--rounds", "1", "--sessions", "5000")),
    Part("relay", "bench.keeper_relay", ("--rounds", "1", "--seconds", "1")),
    Part("takeover", "bench.keeper_takeover", ("--live", "20", "--idle", "50", "--seconds", "2")),
    Part("replace", "bench.keeper_replace", ("--switches", "1", "--calm", "1")),
)


def run(part: Part, *, quick: bool) -> list[dict[str, Any]] | None:
    """Run one part, pass on what it prints, and return it; None when it failed."""
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", part.module, *(part.quick if quick else ())]
        env = {**os.environ, "TMPDIR": folder}  # where its files are, and by which whatever it leaves is found
        # In a session of its own: an interrupt from the terminal reaches it once, from here.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True)
        late = threading.Timer(PART_WITHIN_S, process.terminate)
        late.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(line.decode(), end="", flush=True)
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(line))
            process.wait()
        finally:
            late.cancel()
            end(process, END_WITHIN_S)
            left = end_all_in(folder, within_s=LEFT_WITHIN_S)
    if process.returncode or left or not lines:
        print(f"{part.name} failed: exit code {process.returncode}, {len(lines)} lines", file=sys.stderr)
        return None
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(names)}; all of them without")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(names):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    leave_on_sigterm()
    failed: list[str] = []
    targets: dict[str, Any] = {}
    for part in PARTS:
        if not options.parts or part.name in options.parts:
            found = run(part, quick=options.quick)
            if found is None:
                failed.append(part.name)
            for line in found or ():
                targets |= line.get("targets", {})
    print(json.dumps({"targets": targets, "failed": failed}))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
