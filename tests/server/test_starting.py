"""Starts that fail, bounds on starts, and what a person at the terminal gets wrong."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import ECHO, PROBE, free_port, serving

pytestmark = pytest.mark.slow


def test_a_server_that_refuses_makes_no_session(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--env", "PROBE_REFUSES=1", command=PROBE) as served:
        reply = served.client().request("initialize", {"protocolVersion": "2025-11-25"})
        assert (reply.status, reply.session) == (200, None)
        assert reply.json()["error"]["message"] == "not today"
        assert served.client().request("initialize", {"protocolVersion": "2025-11-25"}).session is None


def test_a_server_that_ends_at_once_makes_no_session(tmp_path: Path) -> None:
    with serving(tmp_path / "data", command=(sys.executable, "-c", "exit('no luck')")) as served:
        reply = served.client().request("initialize", {})
        assert reply.status == 503
        assert "no luck" in reply.json()["error"]["message"]
        assert "a start failed" in served.log
        assert "no luck" in served.log
        assert served.terminate() == 0
        assert list((served.data / "sessions").iterdir()) == []


def test_a_server_that_never_answers_makes_no_session(tmp_path: Path) -> None:
    quiet = (sys.executable, "-c", "import sys; sys.stdin.read()")
    with serving(tmp_path / "data", "--start-timeout", "300ms", command=quiet) as served:
        reply = served.client().request("initialize", {})
        assert (reply.status, reply.response.getheader("retry-after")) == (503, "1")
        assert "300ms" in reply.json()["error"]["message"] or "0.3 s" in reply.json()["error"]["message"]


def test_a_server_has_many_descriptors_and_its_workers_what_it_was_started_with(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(777, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        with serving(tmp_path / "data", command=PROBE) as served:
            worker = int(served.opened().call("pid"))
            assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] == few
            assert served.process is not None
            assert resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE)[0] >= min(hard, 65536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_more_sessions_than_may_exist(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--max-sessions", "2", command=PROBE) as served:
        one, _ = served.opened(), served.opened()
        refused = served.client().request("initialize", {})
        assert (refused.status, refused.response.getheader("retry-after")) == (503, "30")
        served.kill()
        served.start()  # what is stored counts too
        assert served.client().request("initialize", {}).status == 503
        one.delete()
        assert served.opened().call("echo", text="room") == "room"


def test_sessions_that_expired_while_nobody_served_make_no_room_twice(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--max-sessions", "2", "--session-timeout", "1h", command=PROBE) as served:
        served.opened(), served.opened()
        served.kill()
        with contextlib.closing(sqlite3.connect(served.data / "sessions.db")) as database:
            database.execute("UPDATE sessions SET last_accessed = last_accessed - 10000")
            database.commit()
        served.start()
        served.opened(), served.opened()
        assert served.client().request("initialize", {}).status == 503


def test_a_mistake_inside_the_data_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "server.lock").touch()
    (tmp_path / "data" / "sessions").write_text("a file")
    result = holdfast("serve", "--port", str(free_port()), "--data", "data", "--", "true", cwd=tmp_path)
    is_one_line_saying(result, "sessions", "--data")


def test_no_more_servers_start_at_once_than_may(tmp_path: Path) -> None:
    """R-SEC-1: never more than --max-starting."""
    starts = tmp_path / "starts"
    options = ("--max-starting", "2", "--env", f"PROBE_STARTS={starts}")
    with serving(tmp_path / "data", *options, command=PROBE) as served:
        threads = [threading.Thread(target=served.opened) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    running = most = 0
    for mark in starts.read_text().split():
        running += 1 if mark == "begun" else -1
        most = max(most, running)
    assert (starts.read_text().count("begun"), most) == (8, 2)


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    with serving(tmp_path / "data", command=ECHO) as served:
        yield served.port, served.data


def holdfast(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *words], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


def is_one_line_saying(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 2, result
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["serve", "--", "no-such-program"], ["no-such-program", "no such command"]),
        (["serve", "--", "./plain.txt"], ["may not be run"]),
        (["serve"], ["no command", "--"]),
        (["serve", "--prot", "1", "--", "true"], ["--prot", "did you mean --port?"]),
        (["serve", "--port", "http", "--", "true"], ["--port", "whole number"]),
        (["serve", "--session-timeout", "soon", "--", "true"], ["--session-timeout", "1h"]),
        (["serve", "--host", "0.0.0.0", "--", "true"], ["0.0.0.0", "127.0.0.1"]),
        (["serve", "--host", "nowhere", "--", "true"], ["not an address"]),
        (["serve", "--data", "plain.txt", "--", "true"], ["plain.txt", "--data"]),
        (["serve", "--data", "newer", "--", "true"], ["newer version", "upgrade"]),
        (["serve", "--data", "foreign", "--", "true"], ["something else", "--data"]),
        (["serve", "--env-file", "export.env", "--", "true"], ["export.env, line 1", "NAME=VALUE"]),
        (["serve", "--config", "absent.toml", "--", "true"], ["absent.toml", "cannot be read"]),
        (["serve", "--config", "typo.toml", "--", "true"], ["sesion-timeout", "did you mean session-timeout?"]),
        (["serve", "--store", "mongodb://x", "--", "true"], ["mongodb", "sqlite"]),
        (["serve", "--env", "NOT_SET_HERE", "--", "true"], ["NOT_SET_HERE"]),
        (["serve", "--answer", "maybe", "--", "true"], ["auto, json, stream"]),
        (["serve", "true"], ["true", "--"]),
        (["sreve"], ["sreve"]),
        ([], ["COMMAND"]),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path, words: list[str], parts: list[str]) -> None:
    (tmp_path / "plain.txt").write_text("text")
    (tmp_path / "typo.toml").write_text('sesion-timeout = "1h"\n')
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "format").write_text("99\n")
    (tmp_path / "newer" / "server.lock").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "source.py").touch()
    (tmp_path / "export.env").write_text("export A=1\n")
    port = ["--port", str(free_port())] if words[:1] == ["serve"] and "--port" not in words else []
    is_one_line_saying(holdfast(*words[:1], *port, *words[1:], cwd=tmp_path), *parts)


def test_a_port_in_use_is_said(in_use: tuple[int, Path], tmp_path: Path) -> None:
    port, _ = in_use
    result = holdfast("serve", "--port", str(port), "--data", "other", "--", "true", cwd=tmp_path)
    is_one_line_saying(result, str(port), "--port")


def test_a_data_directory_in_use_is_said(in_use: tuple[int, Path], tmp_path: Path) -> None:
    _, data = in_use
    result = holdfast("serve", "--port", str(free_port()), "--data", str(data), "--", "true", cwd=tmp_path)
    is_one_line_saying(result, "in use by another server", "--data")


def test_a_data_directory_without_permission_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        place = "/proc/holdfast"  # not even root may write there
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        place = str(tmp_path / "locked" / "data")
    result = holdfast("serve", "--port", str(free_port()), "--data", place, "--", "true", cwd=tmp_path)
    is_one_line_saying(result, place, "--data")


def test_options_come_from_flags_then_environment_then_file(tmp_path: Path) -> None:
    """R-OPS-2."""
    (tmp_path / "holdfast.toml").write_text('path = "/file"\nanswer = "stream"\nsession-timeout = "5m"\n')
    options = ("--config", "holdfast.toml", "--answer", "json")
    with serving(tmp_path / "data", *options, command=ECHO, env={"HOLDFAST_PATH": "/env"}) as served:
        client = served.client()
        assert client.send("POST", b"{}").status == 404
        client.path = "/env"
        client.initialize()
        assert not client.request("tools/call", {"name": "sleep", "arguments": {"seconds": 0.3}}).is_stream
