"""No test of the keeper may leave a process behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import eventually

from .habits import alive


def remaining(data: Path) -> list[str]:
    """Return the processes that carry a worker's marker for this folder, and this process's own children."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        marked = b"HOLDFAST_WORKER=" in environment and os.fsencode(data) in environment
        ours = marked or os.fsencode(data) in command or parent == os.getpid()
        if ours and alive(int(entry.name)):
            found.append(f"{entry.name} {command.decode(errors='replace')}")
    return found


@pytest.fixture(autouse=True)
def no_strays(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a worker, anything a worker started, or a keeper."""
    yield
    left: list[str] = []

    def none_left() -> bool:
        left[:] = remaining(tmp_path)
        return not left

    eventually(none_left)
