"""The real server dies at seeded random points under load; every seed is a test of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest

from .plan import Plan, crashes, stops
from .run import Outcome, run
from .table import table

SLICE: Final = (0, 1, 2, 5, 6)
STOPS_SLICE: Final = (0,)
CHOSEN: Final = os.environ.get("HOLDFAST_SEED")
"""Runs one seed of the campaign again: HOLDFAST_SEED=123 make campaign."""
CRASHES: Final = (int(CHOSEN),) if CHOSEN else tuple(range(100, 160))
STOPS: Final = (int(CHOSEN),) if CHOSEN else tuple(range(100, 110))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[Outcome]]:
    """Give the list that each run adds to; at the end the table is printed."""
    collected: list[Outcome] = []
    yield collected
    if collected:
        print("\n" + "\n".join(json.dumps(asdict(outcome)) for outcome in collected) + "\n\n" + table(collected))


def check(plan: Plan, folder: Path, outcomes: list[Outcome]) -> None:
    outcome = run(plan, folder)
    outcomes.append(outcome)
    assert not outcome.violations, f"seed {plan.seed} ({'; '.join(outcome.ends)}):\n" + "\n".join(
        f"  expected {violation}" for violation in outcome.violations
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLICE)
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    seed: int, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    check(crashes(seed), tmp_path, outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", STOPS_SLICE)
def test_nothing_is_lost_and_every_call_is_answered_when_the_server_is_stopped(
    seed: int, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    check(stops(seed), tmp_path, outcomes)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", CRASHES)
def test_nothing_acknowledged_is_lost_at_any_of_many_points(seed: int, tmp_path: Path, outcomes: list[Outcome]) -> None:
    check(crashes(seed), tmp_path, outcomes)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", STOPS)
def test_nothing_is_lost_at_any_of_many_stops(seed: int, tmp_path: Path, outcomes: list[Outcome]) -> None:
    check(stops(seed), tmp_path, outcomes)
