"""What a client must not do gets a status and a sentence, and the session goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import PROBE, McpClient, Served, serving

pytestmark = pytest.mark.slow

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("bad") / "data", command=PROBE) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: Served) -> McpClient:
    return served.opened()


@pytest.mark.parametrize(
    ("verb", "body", "headers", "status"),
    [
        ("PUT", PING, {}, 405),
        ("POST", PING, {"Origin": "https://evil.example"}, 403),
        ("POST", PING, {"Origin": "null"}, 403),
        ("POST", PING, {"Content-Type": "text/plain"}, 415),
        ("POST", PING, {"Content-Type": "application/jsonp"}, 415),
        ("POST", PING, {"Accept": "application/json"}, 406),
        ("POST", PING, {"Mcp-Session-Id": None}, 400),
        ("POST", PING, {"Mcp-Session-Id": "f" * 32}, 404),
        ("POST", PING, {"Mcp-Session-Id": "x" * 300}, 404),
        ("POST", PING, {"MCP-Protocol-Version": "1999-01-01"}, 400),
        ("POST", b"", {}, 400),
        ("POST", b"{", {}, 400),
        ("POST", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', {}, 400),
        ("POST", b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}', {}, 400),
        ("GET", None, {"Accept": "application/json"}, 406),
        ("GET", None, {"Last-Event-ID": "nonsense"}, 400),
        ("GET", None, {"Last-Event-ID": "00000000.0.1.1"}, 400),
        ("GET", None, {"Last-Event-ID": "00000000.9999999999999999999.1.1"}, 400),
        ("GET", None, {"Mcp-Session-Id": None}, 400),
        ("DELETE", None, {"Mcp-Session-Id": "unknown"}, 404),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    client: McpClient, verb: str, body: bytes | None, headers: dict[str, Any], status: int
) -> None:
    """R-MCP-1, R-SEC-3."""
    reply = client.send(verb, body, headers)
    answer = reply.json()
    assert (reply.status, type(answer["error"]["message"])) == (status, str)
    assert client.call("echo", text="still here") == "still here"


def test_another_path_is_not_found(client: McpClient) -> None:
    assert client.send("POST", PING, path="/other").status == 404


def test_a_message_over_the_bound_is_refused(client: McpClient) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "y" * 11_000_000}}).encode()
    assert client.send("POST", body).status == 413


def test_an_id_in_flight_is_not_used_twice(client: McpClient) -> None:
    place = Path(client.call("where"))
    with client.request("tools/call", {"name": "wait", "arguments": {"name": "go"}}, id="twice") as first:
        second = client.request("tools/call", {"name": "echo", "arguments": {"text": "a"}}, id="twice")
        assert second.status == 400
        (place / "go").touch()
        assert first.messages()[-1]["id"] == "twice"


@pytest.mark.parametrize(("place", "status"), [("999999999999999999", 400), ("0", 200)])
def test_an_event_id_that_was_never_given_out_is_no_trouble(client: McpClient, place: str, status: int) -> None:
    """R-SEC-3."""
    with client.request("tools/call", {"name": "log", "arguments": {"text": "a"}}) as reply:
        tag = str(next(reply.events()).id).split(".")[0]
    for event_id in (f"{tag}.{place}-{place}.{place}.{place}", f"{tag}.0.{place}.{place}"):
        with client.get(event_id) as stream:
            assert stream.status == status
        assert client.call("echo", text="still here") == "still here"


def test_pretty_printed_json_is_one_message(client: McpClient) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": "p",
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "a"}},
    }
    reply = client.send("POST", json.dumps(message, indent=2).encode())
    assert reply.answer()["result"]["content"][0]["text"] == "a"


def test_the_answer_for_unknown_ids_is_always_the_same(client: McpClient) -> None:
    """R-MCP-4: nobody learns whether a session exists that is not theirs."""
    answers = {
        client.send("POST", PING, {"Mcp-Session-Id": session}).body for session in ("f" * 32, "0", "x" * 300, "ÿ")
    }
    assert len(answers) == 1
