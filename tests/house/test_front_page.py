"""What the README promises a newcomer is true as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .source import ROOT

README = (ROOT / "README.md").read_text()


def test_the_library_example_runs_as_written(tmp_path: Path) -> None:
    """R-MGR-4"""
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "{'items': ['tea']}\n", "")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_target_named_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|    )make ([a-z-]+)", (ROOT / document).read_text()))
    assert named
    assert named <= targets


def test_make_alone_lists_every_target_a_person_calls() -> None:
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    for target in ("serve", "test", "setup", "check", "fast", "bench", "campaign"):
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE), target


def test_every_pin_is_a_name_and_a_version() -> None:
    """Nothing in it depends on where somebody got the packages from."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 40
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.]*", pin)] == []
