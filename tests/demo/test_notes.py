"""The server of the demo is one that any client could use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.demo import notes


def call(tool: str, **arguments: Any) -> Any:
    return notes.answer("tools/call", {"name": tool, "arguments": arguments})["result"]["structuredContent"]


def test_notes_are_kept_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("recall") == {"notes": [], "pid": os.getpid()}
    call("remember", text="a")
    assert call("remember", text="b")["notes"] == ["a", "b"]
    assert call("recall")["notes"] == ["a", "b"]
    assert json.loads((tmp_path / "notes.json").read_text()) == ["a", "b"]


@pytest.mark.slow
def test_thinking_tells_its_progress_to_whoever_asked(capsys: pytest.CaptureFixture[str]) -> None:
    params = {"name": "think", "arguments": {"seconds": 1}}
    notes.answer("tools/call", params)
    assert capsys.readouterr().out == ""
    notes.answer("tools/call", {**params, "_meta": {"progressToken": 7}})
    told = json.loads(capsys.readouterr().out)
    assert (told["method"], told["params"]) == (
        "notifications/progress",
        {"progressToken": 7, "progress": 0, "total": 1},
    )


@pytest.mark.parametrize(("method", "params"), [("prompts/list", {}), ("tools/call", {"name": "forget"})])
def test_what_it_does_not_know_is_an_error(method: str, params: dict[str, Any]) -> None:
    assert notes.answer(method, params)["error"]["code"] == -32601


def test_it_lists_what_it_answers_to() -> None:
    assert {tool["name"] for tool in notes.answer("tools/list", {})["result"]["tools"]} == notes.CALLS.keys()
    assert notes.answer("ping", {}) == {"result": {}}
