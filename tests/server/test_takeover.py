"""A server is killed and the next one takes over: sessions, workers with their memory, and the calls in flight."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.kit import PROBE, Event, McpClient, Served, eventually, keeper_of, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "data", "--answer", "stream", command=PROBE) as server:
        yield server


def call_params(tool: str, token: str | None = None, **arguments: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    return params | ({"_meta": {"progressToken": token}} if token else {})


def resumed(client: McpClient, event_id: str | None) -> list[Event]:
    """Return what comes behind an event, without the place where a stream that still runs goes on."""
    return [event for event in client.get(event_id).events() if event.message is not None]


def workers_of(served: Served) -> list[dict[str, Any]]:
    """Return what the keeper knows of each worker, those included of which it still has to tell something."""
    words = [sys.executable, "-m", "holdfast", "keeper", "status", "--json", "--data", str(served.data)]
    return list(json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["workers"])


def calls_under_way(served: Served) -> int:
    """Return how many calls the keeper knows that have no answer yet."""
    return sum(worker["calls"] for worker in workers_of(served))


def test_a_call_in_flight_answers_through_the_next_server_with_all_its_progress(served: Served) -> None:
    """R-KEE-1, R-KEE-2"""
    client = served.opened()
    assert client.call("count") == "1"
    with client.request("tools/call", call_params("progress", "t", n=150, pause=0.01), id="long") as reply:
        events = reply.events()
        seen = [next(events) for _ in range(6)]
        served.kill()
        seen += list(events)
    served.start()
    rest = resumed(client, seen[-1].id)
    numbers = [event.message["params"]["progress"] for event in [*seen[1:], *rest[:-1]]]
    assert numbers == list(range(150)), "each once, in order, none lost"
    assert rest[-1].message["id"] == "long"
    assert rest[-1].message["result"]["content"][0]["text"] == "150 done"
    assert client.call("count") == "2", "the memory of its worker lives on"
    again = resumed(client, seen[0].id)
    assert [event.id for event in again] == [event.id for event in [*seen[1:], *rest]]


def test_a_call_goes_on_through_two_servers_that_are_killed(served: Served) -> None:
    client = served.opened()
    with client.request("tools/call", call_params("progress", "t", n=300, pause=0.01), id="long") as reply:
        opening = next(reply.events())
        for _ in range(2):
            served.kill()
            served.start()
    messages = [event.message for event in resumed(client, opening.id)]
    assert [message["params"]["progress"] for message in messages[:-1]] == list(range(300))
    assert messages[-1]["id"] == "long"


def test_the_next_server_takes_over_before_anybody_asks(served: Served) -> None:
    """What a worker says is journaled, and its call is over, whether or not its client has come back."""
    client = served.opened()
    place = Path(client.call("where"))
    with client.request("tools/call", call_params("wait", name="go"), id="w") as reply:
        opening = next(reply.events())
        served.kill()
    (place / "go").touch()
    served.start()
    eventually(lambda: calls_under_way(served) == 0)
    served.kill_all()  # no worker is left that could answer
    served.start()
    (answer,) = resumed(client, opening.id)
    assert answer.message["id"] == "w"
    assert "result" in answer.message


def test_a_question_asked_through_one_server_is_answered_through_the_next(served: Served) -> None:
    client = served.client()
    client.initialize(elicitation={})
    with client.request("tools/call", call_params("ask", text="name?"), id="a") as reply:
        events = reply.events()
        opening, question = next(events), next(events)
        served.kill()
    served.start()
    answer = {"jsonrpc": "2.0", "id": question.message["id"], "result": {"content": "Ada"}}
    for _ in range(2):
        assert client.post(answer).status == 202, "the second one is dropped"
    told = [event.message for event in resumed(client, opening.id)]
    assert told[0] == question.message
    assert json.loads(told[1]["result"]["content"][0]["text"]) == {"content": "Ada"}
    assert len(told) == 2


def journaled(served: Served, what: bytes) -> bool:
    return any(what in path.read_bytes() for path in served.data.glob("*.db*"))


def test_a_question_that_nobody_was_there_for_is_asked_by_the_next_server(tmp_path: Path) -> None:
    """Also when the client names no event, for it never got one."""
    with serving(tmp_path / "data", "--answer", "json", command=PROBE) as served:
        client = served.client()
        client.initialize(elicitation={})
        client.get().close()
        asking = threading.Thread(target=call_until_cut, args=(client, "ask", {"text": "name?"}))
        asking.start()
        eventually(lambda: journaled(served, b"elicitation/create"))
        served.kill()
        asking.join()
        for _ in range(2):
            served.start()
            with client.get() as stream:
                messages = (event.message for event in stream.events() if event.message is not None)
                question = next(messages)
                assert question["params"]["message"] == "name?"
            served.kill()
        served.start()
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"content": "Ada"}}
        assert client.post(answer).status == 202
        eventually(lambda: calls_under_way(served) == 0)


def call_until_cut(client: McpClient, tool: str, arguments: dict[str, Any]) -> None:
    with contextlib.suppress(OSError, HTTPException):
        client.request("tools/call", {"name": tool, "arguments": arguments}, id=tool)


def test_a_worker_that_ends_while_no_server_is_there_is_counted_once_and_told(served: Served) -> None:
    """R-KEE-1: the five-crash rule keeps its count."""
    client = served.opened()
    for _ in range(3):
        client.call("crash")
    pid = int(client.call("pid"))
    with client.request("tools/call", call_params("mute"), id="m") as reply:
        opening = next(reply.events())
        served.kill()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    for _ in range(2):
        served.start()
        (told,) = resumed(client, opening.id)
        assert "SIGKILL" in told.message["error"]["message"]
        served.kill()
    served.start()
    assert client.call("count") == "1", "it was the fourth crash"
    client.call("crash")
    eventually(lambda: client.request("ping").status == 404)


def test_a_worker_that_ended_while_it_asked_is_over_once_its_client_was_told(served: Served) -> None:
    client = served.client()
    client.initialize(elicitation={})
    with client.request("tools/call", call_params("ask", text="name?"), id="a") as asking:
        events = asking.events()
        asked_id = [next(events) for _ in range(2)][1].message["id"]
        client.call("crash")
        withdrawn, answer = (event.message for event in events)
    assert withdrawn["params"]["requestId"] == asked_id
    assert "code 7" in answer["error"]["message"]
    eventually(lambda: workers_of(served) == [])
    assert client.call("count") == "1"


def test_an_ended_worker_that_has_more_to_tell_is_known_to_have_ended_by_the_next_server(served: Served) -> None:
    client = served.opened()
    client.call("changed")
    client.call("crash")
    served.kill()
    served.start()
    assert client.call("count") == "1"
    with client.get() as stream:
        messages = (event.message for event in stream.events() if event.message is not None)
        assert next(messages)["method"] == "notifications/tools/list_changed"


def test_a_session_that_ends_leaves_nothing_of_its_worker_to_be_told(served: Served) -> None:
    client = served.opened()
    client.call("changed")
    with client.request("tools/call", call_params("ask", text="name?"), id="a") as asking:
        events = asking.events()
        assert [next(events) for _ in range(2)][1].message["method"] == "elicitation/create"
        assert client.delete().status == 204
    eventually(lambda: workers_of(served) == [])


def test_what_nobody_listened_to_is_held_by_the_next_server(served: Served) -> None:
    client = served.opened()
    client.call("changed")
    served.kill()
    served.start()
    with client.get() as stream:
        messages = (event.message for event in stream.events() if event.message is not None)
        assert next(messages)["method"] == "notifications/tools/list_changed"


def test_the_longest_a_call_may_take_counts_from_its_beginning(tmp_path: Path) -> None:
    options = ("--answer", "stream", "--request-timeout", "4s")
    with serving(tmp_path / "data", *options, command=PROBE) as served:
        client = served.opened()
        with client.request("tools/call", call_params("mute"), id="m") as reply:
            opening = next(reply.events())
            threading.Event().wait(3.0)  # not to wait for anything: most of its time shall be over
            served.kill()
        served.options = ("--answer", "stream", "--request-timeout", "600s")
        served.start()
        served.kill()
        served.options = options
        served.start()
        told = list(client.get(opening.id).events())[-1]
        assert "no answer within 4 s" in told.message["error"]["message"]


def test_a_session_that_ended_meanwhile_takes_its_worker_along(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--session-timeout", "5s", command=PROBE) as served:
        client = served.opened()
        pid = int(client.call("pid"))
        served.kill()
        served.options = ("--session-timeout", "5s")
        keeper = keeper_of(served.data)
        served.start()
        eventually(lambda: not Path(f"/proc/{pid}").exists())
        assert client.request("ping").status == 404
        assert keeper_of(served.data) == keeper


def test_workers_end_when_no_server_comes_back_and_the_keeper_with_them(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--session-timeout", "2s", command=PROBE) as served:
        client = served.opened()
        pid = int(client.call("pid"))
        keeper = keeper_of(served.data)
        served.kill()
        assert Path(f"/proc/{pid}").exists()
        eventually(lambda: not Path(f"/proc/{pid}").exists() and not Path(f"/proc/{keeper}").exists())


def test_a_stop_ends_the_workers_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--answer", "stream", "--on-stop", "keep", command=PROBE) as served:
        client = served.opened()
        assert client.call("count") == "1"
        with client.request("tools/call", call_params("progress", "t", n=200, pause=0.01), id="long") as reply:
            events = reply.events()
            seen = [next(events) for _ in range(3)]
            assert served.terminate() == 0
            seen += [event for event in events if event.message is not None]
        served.start()
        rest = [event.message for event in resumed(client, seen[-1].id)]
        numbers = [event.message["params"]["progress"] for event in seen[1:]]
        numbers += [message["params"]["progress"] for message in rest[:-1]]
        assert numbers == list(range(200))
        assert client.call("count") == "2"
        served.options = ("--answer", "stream")
        assert served.terminate() == 0
        served.start()
        assert served.terminate() == 0
        assert not (served.data / "keeper.sock").exists()


def test_sessions_in_memory_end_with_their_server_and_their_workers_too(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--store", "memory://", command=PROBE) as served:
        pid = int(served.opened().call("pid"))
        served.kill()
        eventually(lambda: not Path(f"/proc/{pid}").exists())
