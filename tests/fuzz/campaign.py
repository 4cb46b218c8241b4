"""Coverage-guided fuzzing of the parser and of the whole edge, as a campaign.

python -m tests.fuzz.campaign [--seconds S] [--runs N] [--seed N] [--keep DIR] [parser] [app]

Prints one line of JSON for each target: executions, coverage (edges of our Python), findings (files that hold the input
of each). Copy what was found into `corpus/`, mend it, and it is tested for ever after. Exits with 1 after a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

CORPUS: Final = Path(__file__).parent / "corpus"
ROOT: Final = Path(__file__).parents[2]
TARGETS: Final = ("parser", "app")
SIZES_MAX: Final = {"parser": 600, "app": 160}
GRACE_S: Final = 120.0
_PULSE: Final = re.compile(r"^#(\d+)\s.*?cov: (\d+) ft: (\d+)", re.MULTILINE)


def fuzz(target: str, *, runs: int, seconds: float, seed: int, keep: Path) -> dict[str, Any]:
    """Fuzz one target for so many executions or seconds, whichever ends first; findings are kept in `keep`.

    The same seed and number of executions give the same inputs as long as the code stays the same.
    """
    keep.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as grown:
        shutil.copytree(CORPUS / target, grown, dirs_exist_ok=True)
        options = {
            "runs": runs,
            "max_total_time": int(seconds),
            "seed": seed,
            "max_len": SIZES_MAX[target],
            "len_control": 0,  # long conversations from the start
            "timeout": int(GRACE_S),
            "artifact_prefix": f"{keep.absolute()}/{target}-",
        }
        # Led by one measure of coverage, not slowed down by another.
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        words = [sys.executable, "-m", "tests.fuzz.guided", target, *(f"-{k}={v}" for k, v in options.items()), grown]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            timeout=seconds + GRACE_S,
            check=False,
        )
    said = done.stderr.decode(errors="replace")
    pulses = _PULSE.findall(said) or [("0", "0", "0")]
    ended_well = done.returncode == 0
    return {
        "target": target,
        "seed": seed,
        "executions": int(pulses[-1][0]),
        "coverage": int(pulses[-1][1]),
        "features": int(pulses[-1][2]),
        "seconds": round(time.monotonic() - began, 1),
        "findings": sorted(path.name for path in keep.glob(f"{target}-*")),
        "exit": done.returncode,
        "said": "" if ended_well else said[-4000:],
    }


def main() -> int:
    """Run the campaign that the command line asks for."""
    reads = argparse.ArgumentParser(description="Fuzz the parser and the edge, led by coverage.")
    reads.add_argument("targets", nargs="*", default=list(TARGETS), help="parser, app (default: both)")
    reads.add_argument("--seconds", type=float, default=300.0, help="at most so long for each target")
    reads.add_argument("--runs", type=int, default=-1, help="at most so many executions; -1: as many as there is time")
    reads.add_argument("--seed", type=int, default=1)
    reads.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where findings are kept")
    asked = reads.parse_args()
    outcomes = []
    for target in asked.targets:
        outcomes.append(fuzz(target, runs=asked.runs, seconds=asked.seconds, seed=asked.seed, keep=asked.keep))
        print(json.dumps(outcomes[-1]), flush=True)
    return int(any(outcome["exit"] or outcome["findings"] for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
