"""What a real server logs through a whole session, at its most talkative."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.kit import PROBE, Served, eventually, serving

pytestmark = pytest.mark.slow


def lines(served: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in served.log.splitlines()]


def whole_session(served: Served, **headers: str | None) -> str:
    """Open a session, use it, fail in it, lose its worker, end it; return its id."""
    client = served.opened()
    assert client.session is not None
    client.call("echo", text="hello")
    client.post({"jsonrpc": "2.0", "id": 7, "method": "ping"}, {**headers})
    client.send("POST", b"{")
    client.send("PUT")
    with client.get() as stream:
        assert stream.status == 200
    client.call("crash")
    client.call("echo", text="again")
    client.delete()
    client.request("ping")
    return client.session


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_session_id_is_logged_in_full(tmp_path: Path, log_format: str) -> None:
    """R-SEC-2."""
    with serving(
        tmp_path / "data", "--log-level", "debug", "--log-format", log_format, command=PROBE, env={"PYTHONDEVMODE": "1"}
    ) as served:
        session = whole_session(served)
        eventually(lambda: "answered 404" in served.log, within_s=30)
        served.terminate()
        assert session[:4] in served.log
        assert session not in served.log
        assert session[5:] not in served.log


def test_a_request_is_logged_under_the_name_its_client_gave_it(tmp_path: Path) -> None:
    """R-OPS-4."""
    with serving(tmp_path / "data", "--log-level", "debug", "--log-format", "json", command=PROBE) as served:
        session = whole_session(served, **{"X-Request-Id": "mine-1"})
        client = served.client(session)
        trace = "0af7651916cd43dd8448eb211c80319c"
        client.send("PUT", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        client.send("PUT", headers={"X-Request-Id": "not visible"})
        eventually(lambda: len([line for line in lines(served) if line["message"].startswith("PUT")]) == 3, within_s=30)
        [pinged] = [line for line in lines(served) if line.get("request") == "mine-1"]
        assert (pinged["message"], pinged["session"]) == ("POST /mcp answered 200", f"{session[:4]}…")
        puts = [line["request"] for line in lines(served) if line["message"].startswith("PUT")]
        assert puts[1] == trace
        assert all(re.fullmatch("[0-9a-f]{16}", put) for put in (puts[0], puts[2]))


def test_nobody_hears_of_requests_that_went_well(tmp_path: Path) -> None:
    with serving(tmp_path / "data", command=PROBE) as served:
        client = served.opened()
        client.call("echo", text="hello")
        client.send("PUT")
        client.delete()
        served.terminate()
        assert served.log == ""


def test_a_path_cannot_forge_a_line(tmp_path: Path) -> None:
    """R-SEC-3."""
    with serving(tmp_path / "data", "--log-level", "debug", command=PROBE) as served:
        served.client().send("GET", path="/x%0A2026-01-01T00:00:00.000Z%20ERROR%20forged%1b[2J")
        eventually(lambda: "answered 404" in served.log, within_s=30)
        assert not re.search("^2026-01-01|\x1b", served.log, re.MULTILINE)
        assert r"GET /x\n2026-01-01" in served.log


def test_an_answer_that_the_server_failed_names_the_request(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--max-sessions", "1", command=PROBE) as served:
        served.opened()
        refused = served.client().post({"jsonrpc": "2.0", "id": 1, "method": "initialize"}, {"X-Request-Id": "mine-2"})
        assert (refused.status, refused.response.getheader("x-request-id")) == (503, "mine-2")
        refused = served.client().post({"jsonrpc": "2.0", "id": 1, "method": "initialize"})
        assert re.fullmatch("[0-9a-f]{16}", refused.response.getheader("x-request-id") or "")
