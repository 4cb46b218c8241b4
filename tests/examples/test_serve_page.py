"""What docs/serve.md and the README show a person who runs the server is true as written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.config import OPTIONS
from tests.kit import ROOT, serving

PAGE = (ROOT / "docs" / "serve.md").read_text()
README = (ROOT / "README.md").read_text()
NO_COMMAND = "no-such-command-here"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def serve_lines(text: str) -> list[list[str]]:
    """Return the words behind `holdfast` of every `holdfast serve` that is shown."""
    lines = re.findall(r"^ *(?:\.venv/bin/)?holdfast (serve .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_table_of_options_is_that_of_the_program() -> None:
    """R-OPS-4: every flag, its variable, its key and its default."""
    rows = ["| flag | environment | in the file | default | |", "|---|---|---|---|---|"]
    for option in OPTIONS:
        default = f"`{option.default}`" if option.default is not None else "–"
        many = ", any number of times" if option.many else ""
        rows.append(
            f"| `--{option.name} {option.metavar}` | `{option.variable}` | `{option.name}` | {default} "
            f"| {option.help}{many} |"
        )
    [table] = re.findall(r"<!-- options: begin -->\n(.*?)<!-- options: end -->", PAGE, re.DOTALL)
    assert table == "\n".join(rows) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("words", serve_lines(PAGE) + serve_lines(README), ids=" ".join)
def test_every_command_shown_is_understood(words: list[str], tmp_path: Path) -> None:
    """All its options and values are read before the server complains of a command that is not there."""
    [toml] = blocks(PAGE, "toml")
    (tmp_path / "holdfast.toml").write_text(toml)
    (tmp_path / "secrets.env").write_text("TOKEN=1\n")
    before = words[: words.index("--")] if "--" in words else words
    ran = subprocess.run(
        [sys.executable, "-m", "holdfast", *before, "--", NO_COMMAND],
        cwd=tmp_path,
        env={**os.environ, "API_KEY": "secret"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"holdfast: {NO_COMMAND}: there is no such command; check the words after --\n"


def test_commands_are_shown_at_all() -> None:
    assert len(serve_lines(PAGE)) >= 4
    assert len(serve_lines(README)) >= 1


@pytest.mark.parametrize("script", blocks(PAGE, "sh"), ids=str.strip)
def test_every_shell_block_is_shell(script: str) -> None:
    parsed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=30, check=False)
    assert (parsed.returncode, parsed.stderr) == (0, "")


@pytest.mark.parametrize("page", [PAGE, README], ids=["serve.md", "README.md"])
def test_the_settings_for_a_client_are_json_and_name_the_default_address(page: str) -> None:
    default = {option.name: option.default for option in OPTIONS}
    [settings] = blocks(page, "json")
    [server] = json.loads(settings)["mcpServers"].values()
    assert server["url"] == f"http://{default['host']}:{default['port']}{default['path']}"


@pytest.mark.slow
def test_the_python_client_shown_connects(tmp_path: Path) -> None:
    """R-MCP-6."""
    [example] = blocks(PAGE, "python")
    with serving(tmp_path / "data") as served:
        ran = subprocess.run(
            [sys.executable, "-c", example.replace(":8000/", f":{served.port}/")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "echo" in ran.stdout


@pytest.mark.slow
def test_the_data_directory_holds_what_the_page_says(tmp_path: Path) -> None:
    [shown] = blocks(PAGE, "text")
    outside = {name.partition("/")[0] for name in re.findall(r"^(\S+)", shown, re.MULTILINE)}
    inside = {name.rstrip("/") for name in re.findall(r"^  (\S+)", shown, re.MULTILINE)}
    with serving(tmp_path / "data", command=(sys.executable, str(ROOT / "examples" / "notes_server.py"))) as served:
        served.opened()
        found = {path.name for path in served.data.iterdir()} - {"sessions.db-wal", "sessions.db-shm"}
        [place] = (served.data / "sessions").iterdir()
        found_inside = {path.name for path in place.iterdir()}
    assert found == outside - {"keeper.log"}
    assert "work" in found_inside
    assert found_inside <= inside
