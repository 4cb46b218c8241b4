"""One server, nothing goes wrong: the way of every kind of message."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import PROBE, McpClient, Served, eventually, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("main") / "data", command=PROBE) as server:
        yield server
        assert server.terminate() == 0


def test_a_session_opens_and_its_tools_answer(served: Served) -> None:
    """R-MCP-1."""
    client = served.client()
    answer = client.initialize()
    assert answer["result"]["serverInfo"]["name"] == "probe"
    assert client.session is not None and len(client.session) == 32
    assert client.call("echo", text="héllo\n\u2028") == "héllo\n\u2028"


def test_each_session_has_a_process_and_a_folder_of_its_own(served: Served) -> None:
    """R-ISO-1."""
    one, two = served.opened(), served.opened()
    assert [one.call("count"), one.call("count"), two.call("count")] == ["1", "2", "1"]
    assert one.call("where") != two.call("where")
    assert one.call("where").startswith(str(served.data))


def test_a_worker_gets_a_clean_environment(served: Served) -> None:
    """R-ISO-1: an allow-list."""
    client = served.opened()
    env = json.loads(client.call("env"))
    assert env["HOLDFAST_SESSION_DIR"] == client.call("where")
    assert "HOLDFAST_TEST_RUN" not in env
    assert "PATH" in env


def test_a_notification_is_accepted_without_a_body(served: Served) -> None:
    reply = served.opened().notify("notifications/roots/list_changed")
    assert (reply.status, reply.json()) == (202, None)


def test_a_quick_answer_is_one_piece_of_json(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--stream-after", "10m", command=PROBE) as served:
        reply = served.opened().request("tools/call", {"name": "echo", "arguments": {"text": "a"}})
        assert not reply.is_stream
        assert reply.json()["result"]["content"][0]["text"] == "a"


def test_a_slow_answer_becomes_a_stream_that_can_be_resumed(served: Served) -> None:
    """R-MCP-1: an event with an id and empty data first."""
    client = served.opened()
    place = Path(client.call("where"))
    with client.request("tools/call", {"name": "wait", "arguments": {"name": "go"}}) as reply:
        (place / "go").touch()
        first, *rest = list(reply.events())
    assert (first.message, first.retry_ms) == (None, 2000)
    assert first.id is not None
    assert [event.message["result"]["content"][0]["text"] for event in rest] == ["it is there"]
    assert [event.message for event in client.get(first.id).events()] == [rest[0].message]


def test_progress_goes_before_its_answer_on_the_same_stream(served: Served) -> None:
    client = served.opened()
    params = {"name": "progress", "arguments": {"n": 3}, "_meta": {"progressToken": "t"}}
    with client.request("tools/call", params) as reply:
        assert reply.is_stream
        said = reply.messages()
    assert [message["params"]["progress"] for message in said[:-1]] == [0, 1, 2]
    assert said[-1]["result"]["content"][0]["text"] == "3 done"


def test_calls_of_one_session_run_side_by_side(served: Served) -> None:
    client = served.opened()
    answers: dict[str, str] = {}

    def call(text: str) -> None:
        params = {"name": "echo", "arguments": {"text": text}}
        answer = McpClient(served.port, client.session).request("tools/call", params, id=text).answer()
        answers[answer["id"]] = answer["result"]["content"][0]["text"]

    threads = [threading.Thread(target=call, args=(f"{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {f"{number}": f"{number}" for number in range(8)}


def test_what_belongs_to_no_request_goes_to_the_get_stream(served: Served) -> None:
    client = served.opened()
    client.call("changed")  # held until somebody listens
    with client.get() as stream:
        events = stream.events()
        opening, held = next(events), next(events)
        client.call("changed")
        live = next(events)
    assert opening.message is None
    assert [held.message["method"], live.message["method"]] == ["notifications/tools/list_changed"] * 2


def test_a_second_get_stream_is_refused(served: Served) -> None:
    client = served.opened()
    with client.get() as stream:
        next(stream.events())
        assert client.get().status == 409


def test_a_question_of_the_server_is_answered_by_the_client(served: Served) -> None:
    client = served.opened()
    with client.request("tools/call", {"name": "ask", "arguments": {"text": "really?"}}) as reply:
        events = reply.events()
        next(events)
        question = next(events).message
        assert question["method"] == "elicitation/create"
        accepted = client.post({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})
        assert accepted.status == 202
        answer = next(events).message
    assert json.loads(answer["result"]["content"][0]["text"]) == {"action": "accept"}


def test_delete_ends_the_session_its_process_and_its_folder(served: Served) -> None:
    client = served.opened()
    place = Path(client.call("where"))
    assert client.delete().status == 204
    assert client.request("ping").status == 404
    assert client.delete().status == 404
    eventually(lambda: not place.exists())


@pytest.mark.parametrize("bytes_", [100_000, 5_000_000])
def test_large_messages_pass_both_ways(served: Served, bytes_: int) -> None:
    client = served.opened()
    assert client.call("large", bytes=bytes_) == "x" * bytes_
    assert client.call("echo", text="y" * bytes_) == "y" * bytes_
