"""`holdfast keeper` as an operator uses it: what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.keeper_report import Answer, ServerSeen, WorkerSeen, as_json, as_text
from holdfast.cli.main import main
from holdfast_keeper import wire

from .fake_keeper import hello, saying

SESSION = "ab12" + "0" * 28
LABEL = json.dumps([SESSION, "ada"])
WORKER = {"label": LABEL, "pid": 11, "since": 1000.0, "server": None, "stage": 2, "calls": 1}
STATUS: dict[str, Any] = {"since": 900.0, "term": 3, "servers": [{"pid": 7, "term": 3}], "workers": [WORKER]}


class Ran:
    """What one run of the command line came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a data directory that a server has used and no keeper serves."""
    place = tmp_path / "data"
    place.mkdir()
    (place / "format").write_text("1\n")
    return place


def run(capsys: pytest.CaptureFixture[str], data: Path, *words: str) -> Ran:
    code = main(["keeper", *words, "--data", str(data)])
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err)


@pytest.mark.parametrize("asks", ["status", "stop"])
def test_where_no_keeper_runs_there_is_nothing_to_do(data: Path, asks: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, data, asks)
    assert (ran.code, ran.out, ran.err) == (0, f"No keeper runs on {data}.\n", "")
    ran = run(capsys, data, asks, "--json")
    assert (ran.code, json.loads(ran.out)) == (0, {"pid": None})


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_no_server_ever_used_is_most_likely_not_the_one_that_is_meant(
    tmp_path: Path, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "elsewhere"
    if there:
        place.mkdir()
    ran = run(capsys, place, "stop")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"holdfast: {place} is no data directory; name the one of the server with --data\n"


def test_the_environment_names_the_data_directory_as_it_does_for_the_server(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(data))
    assert main(["keeper", "status"]) == 0
    assert capsys.readouterr().out == f"No keeper runs on {data}.\n"


def test_a_status_is_told_to_people_and_to_programs_without_whole_session_ids(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-SEC-2."""
    with saying(data, hello(**STATUS, later="a field of a newer keeper")) as asked:
        ran = run(capsys, data, "status")
    assert asked.words == {"versions": [wire.VERSION], "role": "operator", "asks": "status", "grace_s": 4.0}
    assert (ran.code, ran.err) == (0, "")
    assert "server    pid 7 (term 3)" in ran.out
    assert "workers   1, with 1 calls open" in ran.out
    assert SESSION not in ran.out
    assert "ab12…" in ran.out
    (data / wire.SOCKET).unlink()
    with saying(data, hello(**STATUS)):
        ran = run(capsys, data, "status", "--json")
    told = json.loads(ran.out)
    assert (told["pid"], told["term"], told["servers"]) == (os.getpid(), 3, [{"pid": 7, "term": 3}])
    [worker] = told["workers"]
    assert (worker["session"], worker["owner"], worker["pid"], worker["stage"]) == ("ab12…", "ada", 11, "ready")
    assert (worker["since"], worker["server"], worker["calls"], worker["waiting_bytes"]) == (1000.0, None, 1, 0)


def test_a_keeper_is_stopped_when_it_says_that_all_is_gone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with saying(data, hello(), hello()) as asked:
        ran = run(capsys, data, "stop")
    assert asked.words["asks"] == "stop"
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"The keeper of {data} (pid {os.getpid()}) and all it started have ended.\n"
    (data / wire.SOCKET).unlink()
    with saying(data, hello(), hello()):
        ran = run(capsys, data, "stop", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, {"pid": os.getpid(), "stopped": True})


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        (
            (hello(error="a server (pid 7) uses it; stop that first"),),
            1,
            "refuses: a server (pid 7) uses it; stop that first",
        ),
        ((hello(), hello(error="a server (pid 8) came")), 1, "refuses: a server (pid 8) came"),
        ((hello(version=wire.VERSION + 1, error="what?"),), 2, f"speaks version {wire.VERSION + 1}, this holdfast"),
        ((), 1, "ended before it had answered"),
        ((hello(),), 1, "ended before it had answered"),
        ((hello()[:-1],), 1, "ended before it had answered"),
        ((wire.HEADER.pack(2, wire.FRAME, 0, 0) + b"{}",), 1, "said what no keeper says"),
        ((wire.HEADER.pack(2**32 - 1, wire.HELLO, 0, 0),), 1, "said what no keeper says"),
        ((wire.HEADER.pack(2, wire.HELLO, 0, 0) + b"{}",), 1, "said what cannot be understood"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), 1, "said what no keeper says"),
    ],
)
def test_what_goes_wrong_is_one_line(
    data: Path, answers: tuple[bytes, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with saying(data, *answers):
        ran = run(capsys, data, "stop")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"holdfast: the keeper of {data} (pid {os.getpid()}) ")
    assert words in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.slow
def test_a_keeper_that_hangs_is_named_by_its_process(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / wire.SOCKET))
        listener.listen()
        ran = run(capsys, data, "status")
    assert (ran.code, ran.out) == (1, "")
    assert f"the keeper of {data} (pid {os.getpid()}) does not answer; look at its process" in ran.err


@pytest.mark.parametrize("words", [["keeper"], ["keeper", "start"], ["keeper", "status", "--jsn"]])
def test_words_it_does_not_know_are_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "see holdfast keeper --help" in capsys.readouterr().err


def seen(**fields: Any) -> WorkerSeen:
    base: dict[str, Any] = {"label": LABEL, "pid": 11, "since": 0.0}
    return WorkerSeen(**base | fields)


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ({}, ["ab12…", "ada", "11", "10", "s", "opening", "-", "-", "-", "-"]),
        ({"stage": 1, "server": 7}, ["ab12…", "ada", "11", "10", "s", "agreed", "7", "-", "-", "-"]),
        ({"stage": 9, "calls": 2}, ["ab12…", "ada", "11", "10", "s", "9", "-", "2", "-", "-"]),
        ({"pid": 0, "stage": 2}, ["ab12…", "ada", "-", "10", "s", "ended", "-", "-", "-", "-"]),
        ({"label": "not JSON"}, ["not", "…", "-", "11", "10", "s", "opening", "-", "-", "-", "-"]),
        ({"label": '["cd34ef", "a\\u001b[2Jb"]'}, ["cd34…", "a?[2Jb", "11", "10", "s", "opening", "-", "-", "-", "-"]),
        (
            {"waiting_frames": 3, "waiting_bytes": 3 * 2**20, "spilled_bytes": 2048},
            ["ab12…", "ada", "11", "10", "s", "opening", "-", "-", "3", "(3.0", "MiB)", "2.0", "KiB"],
        ),
    ],
)
def test_a_worker_is_one_row(fields: dict[str, Any], cells: list[str]) -> None:
    text = as_text(Answer(2, 5, workers=(seen(**fields),)), Path("data"), 10.0)
    assert text.splitlines()[-1].split() == cells


@pytest.mark.parametrize(
    ("age_s", "words"), [(-5.0, "0 s"), (59.9, "59 s"), (61.0, "1 min"), (7200.0, "2 h"), (200_000.0, "2 d")]
)
def test_how_long_it_runs_is_told_in_one_unit(age_s: float, words: str) -> None:
    assert f"pid 5, running for {words}\n" in as_text(Answer(2, 5, since=1000.0), Path("data"), 1000.0 + age_s)


def test_without_a_server_it_says_what_becomes_of_what_is_said() -> None:
    assert "server    none; what workers say is kept until one comes" in as_text(Answer(2, 5), Path("data"), 0.0)
    served = as_text(Answer(2, 5, servers=(ServerSeen(7, 3), ServerSeen(8, 4))), Path("data"), 0.0)
    assert "server    pid 7 (term 3), pid 8 (term 4)" in served


def test_the_oldest_worker_stands_first() -> None:
    workers = (seen(pid=3, since=3.0), seen(pid=1, since=1.0), seen(pid=2, since=2.0))
    rows = as_text(Answer(2, 5, workers=workers), Path("data"), 3.0).splitlines()[-3:]
    assert [row.split()[2] for row in rows] == ["1", "2", "3"]


def test_no_whole_session_id_is_in_the_json_whatever_the_label() -> None:
    """R-SEC-2."""
    for label in (LABEL, SESSION, json.dumps([SESSION]), json.dumps({"id": SESSION})):
        assert SESSION not in as_json(Answer(2, 5, workers=(seen(label=label),)))
