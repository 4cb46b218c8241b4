"""/healthz and /readyz of a real server."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ECHO, ROOT, Served, eventually, keeper_of, serving

pytestmark = pytest.mark.slow


def get(served: Served, path: str, verb: str = "GET", **headers: str) -> tuple[int, Any]:
    reply = served.client().send(verb, path=path, headers={**headers})
    return reply.status, reply.json()


def test_a_server_that_runs_is_alive_and_ready_to_whoever_asks(tmp_path: Path) -> None:
    """R-OPS-4: load balancers call it what they like."""
    with serving(tmp_path / "data") as served:
        assert get(served, "/healthz", Host="10.0.0.9") == (200, {"alive": True})
        assert get(served, "/readyz", Host="what.ever", Origin="https://evil.example") == (200, {"ready": True})
        assert get(served, "/readyz", "HEAD") == (200, None)
        assert get(served, "/readyz", "POST")[0] == 405


def test_a_keeper_that_cannot_be_started_is_told_until_it_can(tmp_path: Path) -> None:
    """Whoever asks starts it: no request may come before the server says that it is ready."""
    with serving(tmp_path / "data") as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)

        def ready() -> tuple[int, Any]:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert ready()[0] == 200
        assert served.process is not None
        server = served.process.pid
        keeper = keeper_of(served.data)
        few, many = resource.prlimit(server, resource.RLIMIT_NOFILE)
        resource.prlimit(server, resource.RLIMIT_NOFILE, (3, many))  # it can open nothing more, so no keeper either
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: ready() == (503, b'{"ready":false,"failing":["keeper"]}'), within_s=60)
        resource.prlimit(server, resource.RLIMIT_NOFILE, (few, many))
        eventually(lambda: ready() == (200, b'{"ready":true}'), within_s=60)
        connection.close()
        assert served.opened().call("echo", text="again") == "again"
        assert "not ready, the keeper does not work" in served.log
        assert "the keeper works again" in served.log


def test_the_endpoint_cannot_hide_the_pages(tmp_path: Path) -> None:
    words = ["serve", "--data", str(tmp_path / "data"), "--path", "/readyz", "--", *ECHO]
    ran = subprocess.run(
        [sys.executable, "-m", "holdfast", *words], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (ran.returncode, ran.stderr.startswith("holdfast: --path /readyz:")) == (2, True)
