"""`holdfast keeper` beside a real server and without one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.keeper.habits import opened
from tests.kit import Served, eventually, serving

pytestmark = pytest.mark.slow

MANY = 100
LONG = 10_000


def ignore(*_: Any) -> None:
    """Be a callback that is not looked at."""


def keeper(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    command = (sys.executable, "-m", "holdfast", "keeper", *words, "--data", str(served.data))
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def status(served: Served) -> Any:
    ran = keeper(served, "status", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_status_follows_a_session_through_the_death_of_its_server(tmp_path: Path) -> None:
    """R-KEE-1, R-SEC-2."""
    with serving(tmp_path / "data") as served:
        client = served.opened()
        assert served.process is not None
        told = status(served)
        [server] = told["servers"]
        [worker] = told["workers"]
        assert (server["pid"], worker["server"]) == (served.process.pid, served.process.pid)
        assert (worker["stage"], worker["owner"]) == ("ready", None)
        assert alive(worker["pid"])
        served.kill()
        eventually(lambda: not status(served)["servers"])
        told = status(served)
        assert [(left["pid"], left["server"]) for left in told["workers"]] == [(worker["pid"], None)]
        assert client.session is not None
        shown = keeper(served, "status").stdout
        assert client.session[:4] + "…" in shown
        assert client.session not in shown
        served.start()
        eventually(lambda: [left["server"] for left in status(served)["workers"]] == [served.process.pid])  # type: ignore[union-attr]  # it runs
        assert status(served)["term"] > server["term"]


def test_what_lives_on_without_a_server_is_ended_by_stop(tmp_path: Path) -> None:
    """R-KEE-1: an operator leaves nothing running, and the sessions are there at the next start."""
    with serving(tmp_path / "data") as served:
        client = served.opened()
        assert client.call("count") == "1"
        [worker] = status(served)["workers"]
        served.kill()
        ran = keeper(served, "stop")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "and all it started have ended" in ran.stdout
        assert not alive(worker["pid"])
        assert keeper(served, "status").stdout == f"No keeper runs on {served.data}.\n"
        served.start()
        assert client.call("count") == "1"


def test_a_keeper_that_a_server_uses_is_not_stopped(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as served:
        client = served.opened()
        assert served.process is not None
        ran = keeper(served, "stop")
        assert (ran.returncode, ran.stdout) == (1, "")
        assert f"refuses: a server (pid {served.process.pid}) uses it; stop that first" in ran.stderr
        assert client.call("echo", text="still here") == "still here"


async def test_a_status_larger_than_a_socket_takes_at_once_comes_whole(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo", command=("cat",)) as workers:
        (tmp_path / "one" / "work").mkdir(parents=True)
        for number in range(MANY):
            label = json.dumps([f"{number:0{LONG}}", None])
            await workers.spawn(label, tmp_path / "one", on_frame=ignore, on_exit=ignore)
        command = (sys.executable, "-m", "holdfast", "keeper", "status", "--json", "--data", str(tmp_path))
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=120, check=False)
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert len(json.loads(ran.stdout)["workers"]) == MANY
