"""A short piece of the campaign (`make campaign` runs the long one)."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from pathlib import Path

import pytest

from .campaign import fuzz

pytestmark = pytest.mark.slow

RUNS = {"parser": 10_000, "app": 100}


@pytest.fixture(autouse=True)
def atheris() -> None:
    """Skip where there is no wheel of it, as pyproject.toml says; on a laptop also where it is not installed."""
    has_wheel = sys.version_info < (3, 14) and platform.machine() == "x86_64"
    if importlib.util.find_spec("atheris") is None:
        if has_wheel and os.environ.get("CI"):
            pytest.fail("atheris is not installed; `make test` installs what the tests need")
        pytest.skip("atheris is not installed")


@pytest.mark.parametrize("target", ["parser", "app"])
def test_a_short_campaign_finds_nothing(tmp_path: Path, target: str) -> None:
    """R-SEC-3."""
    outcome = fuzz(target, runs=RUNS[target], seconds=600, seed=1, keep=tmp_path)
    assert (outcome["exit"], outcome["findings"]) == (0, []), outcome["said"]
    assert outcome["executions"] >= RUNS[target]
    assert outcome["coverage"] > 50


@pytest.mark.campaign
@pytest.mark.parametrize(("target", "seconds"), [("parser", 60), ("app", 600)])
def test_a_long_campaign_finds_nothing(tmp_path: Path, target: str, seconds: int) -> None:
    outcome = fuzz(target, runs=-1, seconds=seconds, seed=int(os.environ.get("HOLDFAST_SEED", "2")), keep=tmp_path)
    print(json.dumps(outcome))
    assert (outcome["exit"], outcome["findings"]) == (0, []), outcome["said"]
