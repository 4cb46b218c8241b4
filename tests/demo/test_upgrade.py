"""`holdfast demo upgrade` as a person runs it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.kit import TEST_RUN_VARIABLE, eventually, leftovers

from .test_demo import performing

pytestmark = pytest.mark.slow


def test_two_calls_outlive_their_servers_and_nothing_is_left(tmp_path: Path) -> None:
    """R-KEE-1, R-OPS-1, R-SEC-2: killed with -9 in a call of ten seconds, then replaced in another one."""
    with performing(tmp_path, "upgrade") as process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), out
    steps = re.findall(r"^ +[0-9.]+ s  (KILL -9|\S+)", out, re.MULTILINE)
    assert steps == [
        *("serve", "connect", "count", "think", "KILL -9", "serve", "hear", "count"),
        *("think", "replace", "leave", "knock", "hear", "count", "goodbye", "stop"),
    ]
    assert out.count('then answer, "thought for 10 s"') == 2
    assert len(set(re.findall(r"http://127.0.0.1:\d+/mcp", out))) == 1
    assert out.endswith("7 of 7 claims were seen to be true.\n")
    assert not re.search(r"\b[0-9a-f]{32}\b", out)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_stay_makes_it_fail_and_nothing_is_left(tmp_path: Path) -> None:
    """Somebody else kills the server that took over: what did not happen is said, and so is what was not seen."""
    with performing(tmp_path, "upgrade") as process:
        assert process.stdout is not None
        while "same data directory" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        [pid] = re.findall(r"same data directory, pid (\d+)", line)
        os.kill(int(pid), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (1, ""), out
    assert "failed" in out
    assert "  FALSE  both calls were answered, and no call was sent twice\n" in out
    assert list(tmp_path.iterdir()) == []
    eventually(lambda: not leftovers(os.environ[TEST_RUN_VARIABLE], tmp_path))
