"""`holdfast demo` as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit import TEST_RUN_VARIABLE, eventually, leftovers, require

pytestmark = pytest.mark.slow

DEMO = (sys.executable, "-m", "holdfast", "demo")


@contextmanager
def performing(folder: Path, *words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo with its temporary files below `folder`."""
    with subprocess.Popen(
        (*DEMO, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **env},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_demo_shows_what_it_claims_and_leaves_nothing(tmp_path: Path) -> None:
    """R-OPS-1, R-SEC-2: options in the environment of who runs it do not disturb it, and no id is shown whole."""
    with performing(tmp_path, HOLDFAST_PATH="/elsewhere", HOLDFAST_ANSWER="json") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out
    steps = re.findall(r"^ +[0-9.]+ s  (KILL -9|\S+)", out, re.MULTILINE)
    assert steps == [
        *("serve", "connect", "remember", "remember", "recall", "think", "KILL -9"),
        *("serve", "hear", "recall", "remember", "recall", "goodbye", "stop"),
    ]
    assert len(set(re.findall(r"holdfast serve, pid (\d+)", out))) == 2
    assert len(set(re.findall(r"http://127.0.0.1:\d+/mcp", out))) == 1
    assert "error -32050" in out
    assert out.endswith("6 of 6 claims were seen to be true.\n")
    assert "\033[" not in out
    assert not re.search(r"\b[0-9a-f]{32}\b", out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with performing(tmp_path) as process:
        assert process.stdout is not None
        while "same data directory" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        process.send_signal(signal.SIGSTOP)  # so that it goes no further while its processes are looked for
        started = " ".join(process.command for process in leftovers(os.environ[TEST_RUN_VARIABLE], tmp_path))
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert " serve " in started
    assert "holdfast_keeper" in started
    assert (process.returncode, err, "claims" in out) == (code, "", False)
    assert list(tmp_path.iterdir()) == []
    eventually(lambda: not leftovers(os.environ[TEST_RUN_VARIABLE], tmp_path))


def test_without_the_official_client_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(name='mcp')\n")
    with performing(tmp_path, PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "holdfast: mcp is not installed; install holdfast with its extras `server` and `examples`\n"


def test_a_server_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ModuleNotFoundError(name='uvloop')\n")
    with performing(tmp_path, PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == "holdfast: uvloop is not installed; install holdfast with its extra `server`\n"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_whose_owner_wants_it(tmp_path: Path, no_color: str, coloured: bool) -> None:
    script = require("script")  # gives its child a terminal
    ran = subprocess.run(
        [script, "-qec", " ".join(DEMO), "/dev/null"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": no_color, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert ("\033[" in ran.stdout) is coloured


def test_a_server_that_does_not_stay_makes_the_demo_fail(tmp_path: Path) -> None:
    """Somebody else kills the second server: what was claimed is not seen, and the demo says so."""
    with performing(tmp_path) as process:
        assert process.stdout is not None
        while "same data directory" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        [pid] = re.findall(r"holdfast serve, pid (\d+)", line)
        os.kill(int(pid), signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, ""), out
    assert "failed" in out
    false = re.findall(r"^  FALSE  (.*)$", out, re.MULTILINE)
    assert "the call in flight was not met with silence" in false
    assert "every note taken before the kill is there after it" in false
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_nobody_reads_to_its_end_still_ends_well(tmp_path: Path) -> None:
    with performing(tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []
