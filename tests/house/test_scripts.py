"""What `make` does on a machine that is not ready."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .source import ROOT


def program(folder: Path, name: str, *lines: str) -> None:
    """Put a shell script on the path that a test gives to what it runs."""
    (folder / name).write_text("\n".join(["#!/bin/sh", *lines, ""]))
    (folder / name).chmod(0o755)


def run(script: str, *arguments: str, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables, "PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(
        [str(ROOT / "scripts" / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_python_that_is_only_a_name_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "python3.11", "echo 'not installed' >&2", "exit 127")
    program(tmp_path, "python3.12", f'exec "{sys.executable}" "$@"')
    ran = run("make_venv.sh", str(tmp_path / "venv"), path=tmp_path, PYTHON="")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("(python3.12)\n")
    assert (tmp_path / "venv" / "bin" / "python").exists()


def test_a_python_that_was_asked_for_and_cannot_is_not_replaced(tmp_path: Path) -> None:
    program(tmp_path, "python3.12", "exit 127")
    ran = run("make_venv.sh", str(tmp_path / "venv"), path=tmp_path, PYTHON="python3.12")
    assert ran.returncode == 1
    assert "python3.12 cannot make a virtual environment" in ran.stderr
    assert not (tmp_path / "venv").exists()


def test_without_root_it_says_what_to_install(tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 1000")
    ran = run("need.sh", "wrk", path=tmp_path)
    assert ran.returncode == 1
    assert "sudo apt-get install wrk" in ran.stderr


def test_as_root_it_updates_first_and_waits_for_the_locks(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program(tmp_path, "id", "echo 0")
    program(tmp_path, "sleep", f'echo "sleep $*" >> "{calls}"')
    program(
        tmp_path,
        "apt-get",
        f'echo "apt-get $DEBIAN_FRONTEND $*" >> "{calls}"',
        f'[ "$1" = update ] && [ "$(wc -l < "{calls}")" -lt 2 ] || exit 0',
        "echo 'E: Could not get lock /var/lib/apt/lists/lock' >&2",
        "exit 100",
    )
    ran = run("need.sh", "wrk", path=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert calls.read_text().splitlines() == [
        "apt-get noninteractive update -qq",
        "sleep 5",
        "apt-get noninteractive update -qq",
        "apt-get noninteractive install -y -qq -o DPkg::Lock::Timeout=300 wrk",
    ]


@pytest.mark.slow
def test_the_contract_table_shows_which_store_fails(tmp_path: Path) -> None:
    """R-STO-1: what is of no suite is not counted."""
    (tmp_path / "test_contract_mine.py").write_text(
        "import pytest\n"
        "from holdfast.stores import MemoryStore\n"
        "from holdfast.testing.contracts import DescribedContract, ListingContract\n"
        "class Wrong(MemoryStore):\n"
        "    async def count(self, now): return {}\n"
        "@pytest.fixture(params=['wrong', 'right'])\n"
        "async def store(request): return Wrong() if request.param == 'wrong' else MemoryStore()\n"
        "class TestListing(ListingContract): pass\n"
        "class TestDescribed(DescribedContract): pass\n"
        "def test_other(): pass\n"
    )
    command = [sys.executable, str(ROOT / "scripts/contract_table.py"), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[2:] == [
        "| wrong | – | 1 of 2 | – | – | – | – | 5 of 5 | – |",
        "| right | – | 2 of 2 | – | – | – | – | 5 of 5 | – |",
    ]
