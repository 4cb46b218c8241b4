"""The real server ends at seeded random points under load; every seed is a test of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest

from .plan import CYCLE, KINDS, plan
from .run import Outcome, run
from .table import table

SLICE: Final = tuple(range(len(KINDS) + 1))
"""One of each kind, and one more."""
CHOSEN: Final = os.environ.get("HOLDFAST_SEED")
"""Runs one seed of the campaign again: HOLDFAST_SEED=123 make campaign."""
CAMPAIGN: Final = (int(CHOSEN),) if CHOSEN else tuple(range(100, 100 + 10 * len(CYCLE)))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[Outcome]]:
    """Give the list that each run adds to; at the end the table is printed."""
    collected: list[Outcome] = []
    yield collected
    if collected:
        print("\n" + "\n".join(json.dumps(asdict(outcome)) for outcome in collected) + "\n\n" + table(collected))


def check(seed: int, folder: Path, outcomes: list[Outcome]) -> None:
    outcome = run(plan(seed), folder)
    outcomes.append(outcome)
    assert not outcome.violations, f"seed {seed}, {outcome.kind} ({'; '.join(outcome.ends)}):\n" + "\n".join(
        f"  expected {violation}" for violation in outcome.violations
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLICE)
def test_nothing_is_lost_however_the_server_ends(seed: int, tmp_path: Path, outcomes: list[Outcome]) -> None:
    """R-KEE-1, R-KEE-2, R-KEE-3."""
    check(seed, tmp_path, outcomes)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", CAMPAIGN)
def test_nothing_is_lost_at_any_of_many_points(seed: int, tmp_path: Path, outcomes: list[Outcome]) -> None:
    """R-KEE-1, R-KEE-2, R-KEE-3."""
    check(seed, tmp_path, outcomes)
