"""Runs the official conformance suite and reads what it wrote down."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import kit

# The suite starts some 35 sessions, one after another, and each starts an interpreter.
SCENARIO_S: Final = 120
RUN_S: Final = 900
SAID_MAX: Final = 5000
# Records of what went over the wire; they judge nothing.
TRAFFIC: Final = frozenset({"outgoing-request", "incoming-response", "incoming-sse-event", "stream-closed"})


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict: `status` is SUCCESS, FAILURE, WARNING, SKIPPED, or INFO when there was nothing to judge."""

    scenario: str
    id: str
    status: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run of the suite came to; `said` is the end of what it printed."""

    code: int
    checks: tuple[Check, ...]
    said: str

    @property
    def passed(self) -> Counter[str]:
        """How many checks passed in each scenario."""
        return Counter(check.scenario for check in self.checks if check.status == "SUCCESS")

    @property
    def others(self) -> list[str]:
        """The checks that did not pass, with the suite's reason."""
        return [f"{c.scenario}: {c.id}: {c.status}: {c.why}" for c in self.checks if c.status != "SUCCESS"]


def run_suite(port: int, out: Path, *options: str) -> Verdict:
    """Run the server half of the suite against a server on `port`, leaving its files in `out`."""
    bounds = ("--timeout", str(SCENARIO_S * 1000))
    url = f"http://127.0.0.1:{port}/mcp"
    ran = subprocess.run(
        [*kit.node(kit.CONFORMANCE), "server", "--url", url, *bounds, "-o", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    checks = [check for file in sorted(out.glob("*/checks.json")) for check in _read(file)]
    return Verdict(ran.returncode, tuple(checks), ran.stdout[-SAID_MAX:])


def _read(file: Path) -> list[Check]:
    """Return the checks of the scenario for which the suite has made the folder of `file`."""
    named = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
    assert named, f"{file.parent.name} is not named as the suite does"
    return [
        Check(named[1], check["id"], check["status"], str(check.get("errorMessage") or check.get("details", "")))
        for check in json.loads(file.read_text())
        if check["id"] not in TRAFFIC or check["status"] != "INFO"
    ]
