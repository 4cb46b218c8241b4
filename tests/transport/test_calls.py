"""Calls, questions and streams of one session, with a server in this process that says what each test plans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.stdio import StdioSettings, StdioUpstreams
from holdfast.model.jsonrpc import parse_frame
from holdfast.stores import MemoryStore
from holdfast.transport.calls import CALLS_MAX
from holdfast.transport.held import HELD_BYTES_MAX, HELD_MAX, Held, Waiting
from holdfast.transport.host import INITIALIZE_BYTES_MAX, HostSettings
from holdfast.transport.pipeline import Edge
from holdfast.transport.questions import ASKED_MAX, Questions
from holdfast.transport.rules import BATCH_MAX
from tests.gateway.workers import PlannedWorker, PlannedWorkers
from tests.kit import eventually_async

from .edges import HEADERS, Answered, FailingStore, ask, edge_on


class Server:
    """A session's server: answers what `answering` says, and says what the test has it say."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.answering = True
        self.workers = PlannedWorkers(self._plan)

    def _plan(self, worker: PlannedWorker, message: dict[str, Any]) -> None:
        if message.get("method") == "initialize":
            worker.answer(message, {"protocolVersion": self.protocol})
        elif "id" in message and "method" in message and (self.answering or message["method"] == "ping"):
            worker.answer(message, {"method": message["method"]})

    @property
    def heard(self) -> list[dict[str, Any]]:
        return self.workers.made[-1].heard

    def say(self, **message: Any) -> None:
        self.workers.made[-1].say({"jsonrpc": "2.0", **message})


@asynccontextmanager
async def served(
    tmp_path: Path, protocol: str = "2025-11-25", **settings: Any
) -> AsyncIterator[tuple[Server, Edge, str]]:
    server = Server(protocol)
    upstreams = StdioUpstreams(server.workers, StdioSettings())
    async with edge_on(MemoryStore(), tmp_path, upstreams, **settings) as (edge, session):
        yield server, edge, session


def request(request_id: Any, method: str = "tools/list", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def events(answered: Answered) -> list[dict[str, Any]]:
    """The messages of a stream, without its opening and its comments."""
    lines = [line[6:] for line in answered.body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines]


def last_id(answered: Answered) -> str:
    return [line[4:] for line in answered.body.decode().splitlines() if line.startswith("id: ")][-1]


async def say(edge: Edge, session: str, message: Any, verb: str = "POST", **headers: str) -> Answered:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await ask(edge, verb, body, mcp_session_id=session, **headers)


# -- batches (2025-03-26)


async def test_a_batch_is_answered_as_one(tmp_path: Path) -> None:
    """R-MCP-1: requests, a notification and an answer in one body, as protocol 2025-03-26 has it."""
    async with served(tmp_path, "2025-03-26") as (server, edge, session):
        note = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        answered = await say(edge, session, [request(1), note, request("1", "prompts/list")])
        assert answered.status == 200
        assert answered.headers[b"content-type"] == b"application/json"
        found = {(type(one["id"]), one["id"]): one["result"]["method"] for one in json.loads(answered.body)}
        assert found == {(int, 1): "tools/list", (str, "1"): "prompts/list"}
        assert [one.get("method") for one in server.heard[-3:]] == ["tools/list", note["method"], "prompts/list"]
        assert (await say(edge, session, [note, note])).status == 202


@pytest.mark.parametrize(
    "batch",
    [
        b"[]",
        b"[",
        b"[1]",
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"1.0","id":2,"method":"ping"}]',
        b'[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}]',
        b"[%s]" % b",".join([b'{"jsonrpc":"2.0","method":"x"}'] * (BATCH_MAX + 1)),
    ],
)
async def test_a_batch_with_one_bad_message_is_refused_whole(tmp_path: Path, batch: bytes) -> None:
    async with served(tmp_path, "2025-03-26") as (server, edge, session):
        before = len(server.heard)
        assert (await say(edge, session, batch)).status == 400
        assert len(server.heard) == before, "nothing of it was passed on"
        assert (await say(edge, session, request(1))).status == 200, "no id of it is taken"


async def test_a_batch_for_which_there_is_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
    async with served(tmp_path, "2025-03-26") as (server, edge, session):
        worker = server.workers.made[-1]
        before = len(server.heard)
        worker.full = True
        assert (await say(edge, session, [note, request(7, "ping")])).status == 503
        worker.full, worker.gone = False, True
        assert (await say(edge, session, [request(7), note])).status == 503
        worker.gone = False
        assert len(server.heard) == before + 1, "what came before the notification"
        assert (await say(edge, session, [note, request(7, "ping")])).status == 200


@pytest.mark.parametrize("protocol", ["2025-06-18", "2025-11-25"])
async def test_later_protocols_have_no_batches(tmp_path: Path, protocol: str) -> None:
    async with served(tmp_path, protocol) as (_, edge, session):
        refused = await say(edge, session, [request(1)])
        assert (refused.status, b"one message a request" in refused.body) == (400, True)


# -- polling, timeouts, signs of life


async def test_a_client_that_is_sent_away_comes_back_and_loses_nothing(tmp_path: Path) -> None:
    """SEP-1699: the connection ends with `retry`; progress and the answer come over later ones."""
    async with served(tmp_path, answer="stream", poll_after_s=0.01) as (server, edge, session):
        server.answering = False
        first = await say(edge, session, request(1, _meta={"progressToken": "p"}))
        assert (first.status, events(first)) == (200, [])
        assert first.body.endswith(b"retry: 2000\n\n")
        server.say(method="notifications/progress", params={"progressToken": "p", "progress": 1})
        second = await say(edge, session, b"", "GET", last_event_id=last_id(first))
        assert [one["method"] for one in events(second)] == ["notifications/progress"]
        place = f"id: {last_id(first)}\n".encode()
        assert second.body.startswith(place), "a client that breaks off at once knows where it stands"
        server.say(id=1, result={"done": True})
        third = await say(edge, session, b"", "GET", last_event_id=last_id(second))
        assert [one["id"] for one in events(third)] == [1]


async def test_nobody_is_sent_away_without_an_id_to_come_back_with(tmp_path: Path) -> None:
    async with served(tmp_path, answer="stream", poll_after_s=0.0) as (server, edge, session):
        server.answering = False
        first = await say(edge, session, request(1))
        server.say(id=1, result={"done": True})
        again = await say(edge, session, b"", "GET", last_event_id=last_id(first))
        assert [one["id"] for one in events(again)] == [1]


async def test_only_clients_that_know_of_polling_are_sent_away(tmp_path: Path) -> None:
    for number, (protocol, sent_away) in enumerate((("2025-06-18", False), ("2025-11-25", True))):
        (tmp_path / str(number)).mkdir()
        async with served(tmp_path / str(number), protocol, answer="stream", poll_after_s=0.0) as (
            server,
            edge,
            session,
        ):
            server.answering = False
            calling = asyncio.ensure_future(say(edge, session, request(1)))
            await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
            if sent_away:
                assert events(await calling) == []
            server.say(id=1, result={})
            assert sent_away or [one["id"] for one in events(await calling)] == [1]


async def test_only_clients_that_know_of_it_get_an_event_without_a_message(tmp_path: Path) -> None:
    """An earlier client would take it for a message that cannot be read."""
    for number, (protocol, primed) in enumerate((("2025-06-18", False), ("2025-11-25", True))):
        (tmp_path / str(number)).mkdir()
        async with served(tmp_path / str(number), protocol, answer="stream") as (_, edge, session):
            answered = await say(edge, session, request(1))
            assert (b"data:\n" in answered.body, len(events(answered))) == (primed, 1)


@pytest.mark.parametrize("answer", ["json", "stream"])
async def test_a_request_without_an_answer_ends_with_an_error_and_its_server_is_told(
    tmp_path: Path, answer: str
) -> None:
    bounds = HostSettings(request_timeout_s=0.01)
    async with served(tmp_path, answer=answer, bounds=bounds) as (server, edge, session):
        server.answering = False
        answered = await say(edge, session, request(7))
        found = events(answered) if answer == "stream" else [json.loads(answered.body)]
        assert [(one["id"], one["error"]["code"]) for one in found] == [(7, -32050)]
        told = server.heard[-1]
        assert (told["method"], told["params"]["requestId"]) == ("notifications/cancelled", 7)
        server.say(id=7, result={"too": "late"})
        server.answering = True
        assert (await say(edge, session, request(7), accept="application/json, text/event-stream")).status == 200


async def test_a_call_is_cancelled_once_however_often_the_client_says_so(tmp_path: Path) -> None:
    """Nobody keeps a call for ever by cancelling it again and again."""
    async with served(tmp_path) as (server, edge, session):
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        call = edge._host._live[session].calls.in_flight[1]
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await say(edge, session, cancel)).status == 202
        ends = call.timer
        assert (await say(edge, session, cancel)).status == 202
        assert call.timer is ends
        server.say(id=1, result={})
        assert (await calling).status == 200


async def test_a_call_that_cannot_be_passed_on_is_not_in_flight(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        server.workers.made[-1].refusing = True
        assert (await say(edge, session, request(1))).status == 400
        server.workers.made[-1].refusing = False
        assert (await say(edge, session, request(1))).status == 200


async def test_a_request_task_that_is_cancelled_stops_nobody_else(tmp_path: Path) -> None:
    """Some HTTP servers cancel it when the client leaves."""
    async with served(tmp_path) as (server, edge, session):
        server.answering = False
        left = asyncio.ensure_future(say(edge, session, request(1)))
        staying = asyncio.ensure_future(say(edge, session, request(2)))
        await eventually_async(lambda: server.heard[-1].get("id") == 2)
        left.cancel()
        await asyncio.wait({left})
        server.workers.made[-1].end()
        answered = await staying
        assert answered.status == 200
        assert b"-32050" in answered.body


async def test_tokens_and_ids_are_free_again_after_a_crash(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        for _ in range(2):
            server.answering = False
            calling = asyncio.ensure_future(say(edge, session, request(1, _meta={"progressToken": "t"})))
            await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
            again = await say(edge, session, request(2, _meta={"progressToken": "t"}))
            assert (again.status, b"progress token" in again.body) == (400, True)
            server.workers.made[-1].end()
            assert b"-32050" in (await calling).body
            server.answering = True
            assert (await say(edge, session, request(3, "ping"))).status == 200, "another process has started"


async def test_requests_in_flight_are_bounded(tmp_path: Path) -> None:
    async with served(tmp_path, stream_after_s=1000.0) as (server, edge, session):
        server.answering = False
        calling = [asyncio.ensure_future(say(edge, session, request(number))) for number in range(CALLS_MAX)]
        await eventually_async(lambda: server.heard[-1].get("id") == CALLS_MAX - 1)
        refused = await say(edge, session, request("one more"))
        assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
        server.workers.made[-1].end()
        assert all(b"-32050" in answered.body for answered in await asyncio.gather(*calling))


async def test_what_belongs_to_a_call_that_cannot_stream_goes_to_the_get_stream(tmp_path: Path) -> None:
    async with served(tmp_path, answer="json") as (server, edge, session):
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        listening = asyncio.ensure_future(say(edge, session, b"", "GET"))
        streams = edge._host._live[session].streams
        await eventually_async(lambda: "0" in streams)
        server.say(method="notifications/message", params={"level": "info", "data": "working"})
        server.say(id=1, result={})
        answered = await calling
        assert (answered.headers[b"content-type"], json.loads(answered.body)["id"]) == (b"application/json", 1)
        await edge._host.journaler.flushed()
        edge._host._live[session].close_streams(b"")
        assert [one["method"] for one in events(await listening)] == ["notifications/message"]


async def test_a_server_that_shuts_down_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, edge, session):
        await edge._host.drain()
        opening = await ask(edge, "POST", json.dumps(request(1, "initialize")).encode())
        for refused in (opening, await say(edge, session, request(2))):
            assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
            assert b"shutting down" in refused.body or b"ending" in refused.body


async def test_who_wants_json_only_is_served_where_there_are_no_streams(tmp_path: Path) -> None:
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json"), (b"host", b"localhost")]
    opening = json.dumps(request(1, "initialize")).encode()
    for number, (answer, status) in enumerate((("json", 200), ("auto", 406))):
        (tmp_path / str(number)).mkdir()
        async with served(tmp_path / str(number), answer=answer) as (_, edge, _):
            answered = Answered()

            async def receive() -> Any:
                return {"type": "http.request", "body": opening, "more_body": False}

            await edge({"type": "http", "path": "/mcp", "method": "POST", "headers": headers}, receive, answered.send)
            assert answered.status == status


async def test_a_stream_tells_proxies_to_keep_their_hands_off(tmp_path: Path) -> None:
    async with served(tmp_path, answer="stream") as (_, edge, session):
        headers = (await say(edge, session, request(1))).headers
        assert headers[b"content-type"] == b"text/event-stream"
        assert headers[b"cache-control"] == b"no-cache, no-transform"
        assert headers[b"x-accel-buffering"] == b"no"


async def test_a_bad_version_is_refused_for_every_verb(tmp_path: Path) -> None:
    async with served(tmp_path, "2025-03-26") as (_, edge, session):
        for verb, body in (("GET", b""), ("DELETE", b""), ("POST", json.dumps([request(1)]).encode())):
            refused = await say(edge, session, body, verb, mcp_protocol_version="1999-01-01")
            assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, -32022)
        assert (await say(edge, session, request(1))).status == 200, "it is still there"


async def test_an_answered_call_does_not_keep_its_answer(tmp_path: Path) -> None:
    """Others may still wait in front of it to become streams."""
    async with served(tmp_path, stream_after_s=1000.0) as (server, edge, session):
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        server.answering = True
        assert (await say(edge, session, request(2))).status == 200
        assert [hasattr(call, "waiter") for _, _, call in edge._patience._waiting] == [True, False]
        server.say(id=1, result={})
        assert (await calling).status == 200


# -- what the server asks


async def test_an_answer_reaches_the_server_once_and_first(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        server.say(id=5, method="roots/list")
        server.say(id="5", method="elicitation/create", params={})
        server.say(id=1, result={})
        asked = {one["method"]: one["id"] for one in events(await calling) if "method" in one}
        for _ in range(2):
            answer = {"jsonrpc": "2.0", "id": asked["elicitation/create"], "result": {"action": "accept"}}
            assert (await say(edge, session, answer)).status == 202
        assert [one["id"] for one in server.heard if "result" in one] == ["5"], "the second answer is dropped"
        assert (await say(edge, session, request(6, "ping"))).status == 200
        assert [one["id"] for one in server.workers.made[-1].heard_first] == ["5", 6], "an answer, and a ping, go first"


def test_no_answer_reaches_the_question_of_a_successor() -> None:
    done: list[int] = []
    questions = Questions(done.append)
    frame = b'{"jsonrpc":"2.0","id":5,"method":"roots/list"}'
    asked = questions.ask(5, frame, 100)
    assert asked is not None
    late = parse_frame(asked.replace(b'"method":"roots/list"', b'"result":{}'))
    questions.lost()
    again = questions.ask(5, frame, 200)
    assert asked != again
    assert questions.answered(late, b'{"jsonrpc":"2.0","id":"x","result":{}}') is None
    assert done == []


def test_a_question_is_let_go_of_when_it_is_over_and_not_before() -> None:
    done: list[int] = []
    questions = Questions(done.append)
    for number, asked_id in ((100, 5), (101, "5"), (102, 6)):
        questions.ask(asked_id, b'{"jsonrpc":"2.0","id":0,"method":"roots/list"}', number)
    answer = parse_frame(b'{"jsonrpc":"2.0","id":"100","result":{}}')
    assert questions.answered(answer, b'{"id":"100"}') == (b'{"id":5}', 100)
    assert done == [], "whoever passes the answer on lets go of it, once it is there"
    assert questions.withdraw("5", b'{"params":{"requestId":"5"}}') == b'{"params":{"requestId":"101"}}'
    questions.drop(6)
    assert done == [101, 102]


async def test_a_question_that_is_withdrawn_is_withdrawn_under_the_id_the_client_knows(tmp_path: Path) -> None:
    """MCP 2025-11-25, "Cancellation": either side may cancel what it has asked."""
    async with served(tmp_path) as (server, edge, session):
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        server.say(id=5, method="roots/list")
        for asked_id in (5, 6, "5"):
            server.say(method="notifications/cancelled", params={"requestId": asked_id, "reason": "enough"})
        server.say(id=1, result={})
        question, withdrawn, _ = events(await calling)
        assert withdrawn["params"] == {"requestId": question["id"], "reason": "enough"}
        late = {"jsonrpc": "2.0", "id": question["id"], "result": {}}
        assert (await say(edge, session, late)).status == 202
        assert not [one for one in server.heard if "result" in one]


async def test_questions_of_a_process_that_has_ended_are_withdrawn(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        server.say(id=4, method="roots/list")
        server.say(method="notifications/message", params={"level": "info", "data": "kept"})
        live = edge._host._live[session]
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        server.say(id=5, method="elicitation/create", params={})
        server.workers.made[-1].end()
        question, withdrawn, interrupted = events(await calling)
        assert (withdrawn["method"], withdrawn["params"]["requestId"]) == ("notifications/cancelled", question["id"])
        assert interrupted["error"]["code"] == -32050
        listening = asyncio.ensure_future(say(edge, session, b"", "GET"))
        await eventually_async(lambda: "0" in live.streams and live.streams["0"].next_seq == 2)
        await edge._host.journaler.flushed()
        live.close_streams(b"")
        assert [one["method"] for one in events(await listening)] == ["notifications/message"], "no dead question"


async def test_what_nobody_listens_to_is_held_bounded_and_the_rest_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        server.say(id=0, method="roots/list")
        for number in range(HELD_MAX + 5):
            server.say(method="notifications/resources/updated", params={"uri": f"u:{number}"})
        refused = [one for one in server.heard if one.get("id") == 0 and "error" in one]
        assert [one["error"]["code"] for one in refused] == [-32052], "the server does not wait for ever"
        listening = asyncio.ensure_future(say(edge, session, b"", "GET"))
        stream = edge._host._live[session].streams
        await eventually_async(lambda: "0" in stream and stream["0"].next_seq == HELD_MAX + 2)
        await edge._host.journaler.flushed()
        edge._host._live[session].close_streams(b"")
        warning, *rest = events(await listening)
        assert warning["params"]["data"]["lost"] == 6
        assert [one["params"]["uri"] for one in rest] == [f"u:{number}" for number in range(5, HELD_MAX + 5)]


def test_what_is_held_is_bounded_in_bytes_too() -> None:
    held = Held()
    long = Waiting(b"x" * (HELD_BYTES_MAX + 1), 1, 100)
    assert held.add(long) == [], "one message alone may be as long as any"
    assert held.add(Waiting(b"y", 2, 101)) == [long]
    assert held.release()[1:] == [Waiting(b"y", 2, 101)]
    assert held.release() == []


def test_questions_are_bounded() -> None:
    questions = Questions(lambda _: None)
    frame = b'{"jsonrpc":"2.0","id":0,"method":"roots/list"}'
    assert all(questions.ask(number, frame, number + 1) for number in range(ASKED_MAX))
    assert questions.ask("one more", frame, ASKED_MAX + 1) is None
    questions.lost()
    assert questions.ask("one more", frame, ASKED_MAX + 1) is not None


# -- what passes while a server does not read


async def test_answers_pings_and_cancellations_pass_when_nothing_else_does(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        server.answering = False
        calling = asyncio.ensure_future(say(edge, session, request(1)))
        await eventually_async(lambda: server.heard[-1].get("method") == "tools/list")
        worker = server.workers.made[-1]
        worker.full = True
        assert (await say(edge, session, request(2, "ping"))).status == 200
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await say(edge, session, cancel)).status == 202
        assert (await say(edge, session, request(3))).status == 503
        worker.jammed = True
        assert (await say(edge, session, request(4, "ping"))).status == 503
        server.say(id=1, result={})
        assert (await calling).status == 200


# -- bad and old clients


async def test_what_a_client_says_of_itself_is_bounded_before_anything_is_started(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, _):
        long = {"clientInfo": {"name": "x" * INITIALIZE_BYTES_MAX}}
        assert (await ask(edge, "POST", json.dumps(request(1, "initialize", **long)).encode())).status == 400
        assert len(server.workers.made) == 1


async def test_nothing_named_initialize_reaches_the_server_of_a_session(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, edge, session):
        before = len(server.heard)
        for message in (request(2, "initialize"), {"jsonrpc": "2.0", "method": "initialize"}):
            assert (await say(edge, session, message)).status == 400
        assert len(server.heard) == before


@pytest.mark.parametrize("never", ["9-99.1.0", "0.99.99", "1-99.1.0", "1-1.1.50", "1-1.2.0", "7.1.0", "0.1.77"])
async def test_an_event_that_was_never_sent_is_refused(tmp_path: Path, never: str) -> None:
    """R-MCP-5: nobody resumes from an id of their own making."""
    async with served(tmp_path, answer="stream", poll_after_s=0.0) as (server, edge, session):
        server.answering = False
        answered = await say(edge, session, request(1))
        tag = last_id(answered).partition(".")[0]
        assert (await say(edge, session, b"", "GET", last_event_id=f"{tag}.{never}")).status == 400
        server.say(id=1, result={})


async def test_a_stream_whose_journal_is_away_is_no_answer(tmp_path: Path) -> None:
    """The client is sent away and comes back; a client takes any error on a request's stream for its answer."""
    store = FailingStore()
    async with edge_on(store, tmp_path, answer="stream") as (edge, session):
        answered = await say(edge, session, request(2, "ping"))
        first = answered.body.split(b"\n")[0].removeprefix(b"id: ").decode()
        store.failing = True
        resumed = await say(edge, session, b"", "GET", last_event_id=first)
        assert (resumed.status, events(resumed), b"retry: " in resumed.body) == (200, [], True)
        store.failing = False
        again = await say(edge, session, b"", "GET", last_event_id=first)
        assert [one["id"] for one in events(again)] == [2]


async def test_a_server_that_speaks_only_what_came_before_is_served(tmp_path: Path) -> None:
    """Its clients send the version that it agreed to with every request."""
    async with served(tmp_path, "2024-11-05") as (_, edge, session):
        assert (await say(edge, session, request(1), mcp_protocol_version="2024-11-05")).status == 200


async def test_a_bad_version_is_refused_whatever_the_message_says(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, edge, session):
        good = request(1, _meta={"io.modelcontextprotocol/protocolVersion": "2025-11-25"})
        assert (await say(edge, session, good, mcp_protocol_version="nonsense")).status == 400
        bad = request(1, _meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"})
        assert (await say(edge, session, bad, mcp_protocol_version="2025-11-25")).status == 400


# -- newer clients


@pytest.mark.parametrize(
    ("version", "method"), [("2026-07-28", "server/discover"), (None, "server/discover"), ("2026-07-28", "tools/list")]
)
@pytest.mark.parametrize("session", [None, "unknown"])
async def test_a_client_of_a_later_protocol_is_told_what_is_spoken_here(
    tmp_path: Path, version: str | None, method: str, session: str | None
) -> None:
    """R-MCP-1: before any look at the session, so that it falls back to initialize."""
    async with served(tmp_path) as (_, edge, _):
        headers = {"mcp_protocol_version": version} if version else {}
        headers |= {"mcp_session_id": session} if session else {}
        refused = await ask(edge, "POST", json.dumps(request(1, method)).encode(), **headers)
        error = json.loads(refused.body)["error"]
        assert (refused.status, error["code"]) == (400, -32022)
        assert error["data"]["supported"] == ["2025-03-26", "2025-06-18", "2025-11-25"]


async def test_bodies_that_are_under_way_are_bounded_together(tmp_path: Path) -> None:
    """R-SEC-3: many clients that each send most of a large message, and stop."""

    async def sending(edge: Edge, *pieces: bytes, stays: asyncio.Event | None = None) -> Answered:
        answered = Answered()
        events = iter([{"type": "http.request", "body": piece, "more_body": True} for piece in pieces])

        async def receive() -> Any:
            for event in events:
                return event
            if stays is not None:
                await stays.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        await edge({"type": "http", "path": "/mcp", "method": "POST", "headers": HEADERS}, receive, answered.send)
        return answered

    async with served(tmp_path, bodies_bytes_max=1000) as (_, edge, _):
        stays = asyncio.Event()
        first = asyncio.ensure_future(sending(edge, b"", b"x" * 900, stays=stays))
        await asyncio.sleep(0)
        refused = await sending(edge, b"", b"x" * 200)
        assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
        stays.set()
        assert (await first).status == 400, "it was no JSON"
        assert (await sending(edge, b"", b"x" * 900)).status == 400, "what was under way has been read"
