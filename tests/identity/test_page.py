"""What docs/identity.md shows is true as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import ECHO, ROOT, serving

PAGE = (ROOT / "docs" / "identity.md").read_text()
NO_COMMAND = "no-such-command-here"
OPTIONS = re.findall(r"^holdfast (serve (?:.*\\\n)*.*) --", PAGE, re.MULTILINE)

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_servers_are_shown_with_each_way_to_log_in() -> None:
    shown = " ".join(OPTIONS)
    assert [way in shown for way in ("--token-file", "--jwt-issuer", "--trust-header")] == [True] * 3


@pytest.mark.parametrize("shown", OPTIONS)
def test_every_server_shown_is_understood(shown: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "holdfast", *shlex.split(shown.replace("\\\n", "")), "--", NO_COMMAND]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"holdfast: {NO_COMMAND}: there is no such command; check the words after --\n"


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what a page shows for a shell, with the `holdfast` of this test run."""
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    program = bin_ / "holdfast"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m holdfast "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=True
    )


def test_the_first_steps_lead_to_a_client_that_is_let_in(tmp_path: Path) -> None:
    """R-SEC-1, R-MCP-6: what a newcomer types, but for the server in the foreground."""
    [first] = [block for block in blocks("sh") if "chmod" in block]
    made = shell("".join(line for line in first.splitlines(True) if "serve" not in line), tmp_path)
    token = made.stderr.splitlines()[-1]
    [example] = blocks("python")
    with serving(tmp_path / "data", "--token-file", str(tmp_path / "tokens"), command=ECHO) as served:
        ran = subprocess.run(
            [sys.executable, "-c", example.replace(":8000/", f":{served.port}/")],
            input=f"{token}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert served.client().send("POST", b"{}").status == 401
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "echo" in ran.stdout


def test_a_script_can_take_the_token_and_leave_the_line(tmp_path: Path) -> None:
    [script] = [block for block in blocks("sh") if "ci.token" in block]
    assert re.fullmatch(r"hf_[\w-]{43}\n", shell(script, tmp_path).stdout)
    assert re.fullmatch(r"ci:[0-9a-f]{64}\n", (tmp_path / "tokens").read_text())
