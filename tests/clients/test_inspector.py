"""The command line of the official Inspector, before `holdfast serve`: R-MCP-6. It opens a session for each command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.kit import INSPECTOR, ROOT, Served, node, serving

from .driving import TALKING
from .table import promised

pytestmark = pytest.mark.slow

ROW: Final = "Inspector 2.12, `--cli`"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("inspected") / "data", command=TALKING) as server:
        yield server


def inspect(served: Served, method: str, *options: str) -> Any:
    url = f"http://127.0.0.1:{served.port}/mcp"
    words = ["--cli", url, "--transport", "http", "--method", method, "--format", "json", *options]
    ran = subprocess.run(
        [*node(INSPECTOR), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)["result"]


def said(result: Any) -> str:
    text: str = result["content"][0]["text"]
    return text


def test_it_lists(served: Served) -> None:
    assert [tool["name"] for tool in inspect(served, "tools/list")["tools"]][:2] == ["echo", "count"]


@pytest.mark.parametrize("era", ["legacy", "auto"])
def test_it_calls(served: Served, era: str) -> None:
    result = inspect(served, "tools/call", "--tool-name", "echo", "--tool-arg", "text=hi", "--protocol-era", era)
    assert (said(result) == "hi") is (promised()[ROW]["lists and calls"] == "yes")


def test_it_takes_an_answer_that_comes_behind_progress(served: Served) -> None:
    """It shows none; the answer comes in a stream all the same."""
    result = inspect(served, "tools/call", "--tool-name", "count", "--tool-arg", "upto=3")
    assert said(result) == "counted to 3"
    assert promised()[ROW]["progress"] == "no"


def test_it_cancels_a_question_and_the_call_goes_on(served: Served) -> None:
    result = inspect(served, "tools/call", "--tool-name", "greet")
    assert said(result) == "cancel"
    assert promised()[ROW]["questions"] == "no"
