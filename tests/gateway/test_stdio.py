"""A session's server: started, replaced, told what its predecessor was told, and never two at a time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.gateway.contract import Changed, Exit, Handshake
from holdfast.gateway.rules import SUBSCRIPTIONS_BYTES_MAX, change_of, with_subscription
from holdfast.gateway.stdio import StdioSettings, StdioUpstream, StdioUpstreams
from holdfast.model import HoldfastError, Refused, Unavailable
from holdfast.model.jsonrpc import request
from tests.kit import eventually_async

from .workers import AGREED, Plan, PlannedWorker, PlannedWorkers

HANDSHAKE = Handshake(params=b"{}", protocol="2025-11-25", initialized=True)
INITIALIZE = request(1, "initialize", b"{}")


class Upstream:
    """An upstream on planned workers, and what it told."""

    def __init__(self, plan: Plan, **settings: Any) -> None:
        self.workers = PlannedWorkers(plan)
        self.frames: list[bytes] = []
        self.lost: list[Exit] = []
        upstreams = StdioUpstreams(self.workers, StdioSettings(**settings))
        self.it: StdioUpstream = upstreams.make(
            "one", Path(), on_frame=lambda frame, _: self.frames.append(frame), on_lost=self.lost.append
        )


def agrees(worker: PlannedWorker, message: dict[str, Any]) -> None:
    if message.get("method") == "initialize":
        worker.answer(message, AGREED)


def agrees_and_ends(worker: PlannedWorker, message: dict[str, Any]) -> None:
    agrees(worker, message)
    worker.end()


def says_nothing(worker: PlannedWorker, message: dict[str, Any]) -> None:
    return


async def test_a_server_that_ends_right_after_it_agreed_was_never_opened() -> None:
    upstream = Upstream(agrees_and_ends)
    with pytest.raises(Unavailable, match="code 1"):
        await upstream.it.open(INITIALIZE, 1)
    with pytest.raises(Unavailable, match="code 1"):
        await upstream.it.ready(HANDSHAKE)
    assert upstream.lost == []


async def test_a_server_that_refuses_and_ends_has_refused() -> None:
    """What it said is told, however soon after it was gone."""

    def refuses_and_ends(worker: PlannedWorker, message: dict[str, Any]) -> None:
        worker.say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32000, "message": "not today"}})
        worker.end()

    upstream = Upstream(refuses_and_ends)
    assert b"not today" in await upstream.it.open(INITIALIZE, 1)
    assert upstream.lost == []


async def test_a_new_worker_is_told_what_the_last_one_was() -> None:
    handshake = Handshake(
        params=b'{"a":1}',
        protocol="2025-11-25",
        initialized=True,
        log_level=b'{"level":"info"}',
        subscriptions=("file:///a", "file:///b"),
    )
    upstream = Upstream(agrees)
    await upstream.it.ready(handshake)
    heard = [(message["method"], message.get("params")) for message in upstream.workers.made[0].heard]
    assert heard == [
        ("initialize", {"a": 1}),
        ("notifications/initialized", None),
        ("logging/setLevel", {"level": "info"}),
        ("resources/subscribe", {"uri": "file:///a"}),
        ("resources/subscribe", {"uri": "file:///b"}),
    ]


@pytest.mark.parametrize(
    ("declared", "now", "told"),
    [
        ('{"tools":{"listChanged":true},"prompts":{}}', '{"tools":{"listChanged":true}}', ["tools"]),
        ('{"resources":{"listChanged":true},"tools":{"listChanged":true}}', "{}", ["tools", "resources"]),
        ('{"tools":{"listChanged":true}}', '{"tools": {"listChanged": true}}', []),
        ('{"tools":{}}', '{"prompts":{"listChanged":true}}', []),
        ('{"tools":[]}', "{}", []),
        ("null", "{}", []),
        ("", "{}", []),
    ],
)
async def test_a_worker_with_other_capabilities_makes_the_client_look_again(
    declared: str, now: str, told: list[str]
) -> None:
    def agrees_with_capabilities(worker: PlannedWorker, message: dict[str, Any]) -> None:
        if message.get("method") == "initialize":
            worker.answer(message, AGREED | {"capabilities": json.loads(now)})

    upstream = Upstream(agrees_with_capabilities)
    await upstream.it.ready(msgspec.structs.replace(HANDSHAKE, capabilities=declared.encode()))
    assert [json.loads(frame)["method"] for frame in upstream.frames] == [
        f"notifications/{kind}/list_changed" for kind in told
    ]


async def test_many_callers_share_one_new_worker_and_its_failure() -> None:
    upstream = Upstream(agrees)
    await asyncio.gather(*(upstream.it.ready(HANDSHAKE) for _ in range(20)))
    assert len(upstream.workers.made) == 1
    failing = Upstream(agrees)
    failing.workers.refusing = True
    errors = await asyncio.gather(*(failing.it.ready(HANDSHAKE) for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in errors} == {Unavailable}


async def test_a_start_that_failed_is_not_tried_again_at_once() -> None:
    upstream = Upstream(agrees)
    upstream.workers.refusing = True
    with pytest.raises(Unavailable, match="no worker today"):
        await upstream.it.ready(HANDSHAKE)
    again = [await asyncio.gather(upstream.it.ready(HANDSHAKE), return_exceptions=True) for _ in range(8)]
    refused = [error for [error] in again if isinstance(error, Refused)]
    assert refused, "each failure doubles the pause; nobody is so slow that all of them are over"
    assert "no worker today" in str(refused[0])
    assert refused[0].wait_s > 0


@pytest.mark.parametrize("result", [None, 7, {}, {"protocolVersion": 3}, []])
async def test_nonsense_for_an_answer_to_initialize_leaves_no_worker(result: Any) -> None:
    def nonsense(worker: PlannedWorker, message: dict[str, Any]) -> None:
        worker.answer(message, result)

    upstream = Upstream(nonsense)
    with pytest.raises(HoldfastError):
        await upstream.it.ready(HANDSHAKE)
    assert (len(upstream.workers.made), upstream.workers.alive) == (1, 0)


async def test_another_protocol_version_leaves_no_worker() -> None:
    upstream = Upstream(lambda worker, message: worker.answer(message, {"protocolVersion": "2025-06-18"}))
    with pytest.raises(Changed, match="2025-06-18"):
        await upstream.it.ready(HANDSHAKE)
    assert upstream.workers.alive == 0
    assert upstream.lost == []


async def test_a_stop_ends_a_worker_that_is_starting_and_tells_who_waits() -> None:
    upstream = Upstream(says_nothing)
    waiting = asyncio.ensure_future(upstream.it.ready(HANDSHAKE))
    await eventually_async(lambda: upstream.workers.alive)
    await upstream.it.stop()
    with pytest.raises(Unavailable):
        await waiting
    assert upstream.workers.alive == 0


async def test_a_stop_while_a_worker_is_being_made_ends_it_as_soon_as_it_is() -> None:
    upstream = Upstream(says_nothing)
    upstream.workers.may_spawn.clear()
    opening = asyncio.ensure_future(upstream.it.open(INITIALIZE, 1))
    await asyncio.sleep(0)
    await upstream.it.stop()
    upstream.workers.may_spawn.set()
    with pytest.raises(Unavailable, match="ending"):
        await opening
    assert (len(upstream.workers.made), upstream.workers.alive) == (1, 0)


async def test_a_server_that_does_not_answer_in_time_is_ended() -> None:
    upstream = Upstream(says_nothing, start_timeout_s=0.01)
    with pytest.raises(Unavailable, match=r"within 0\.01 s"):
        await upstream.it.open(INITIALIZE, 1)
    assert upstream.workers.alive == 0


async def test_a_worker_that_ends_by_itself_is_lost_and_one_that_is_stopped_is_not() -> None:
    upstream = Upstream(agrees)
    await upstream.it.open(INITIALIZE, 1)
    upstream.workers.made[0].end(Exit(None, 11, "it was killed by signal 11"))
    await upstream.it.ready(HANDSHAKE)
    await upstream.it.stop()
    assert [ended.signal for ended in upstream.lost] == [11]


async def test_answers_to_what_the_gateway_asked_are_not_passed_on() -> None:
    def helpful(worker: PlannedWorker, message: dict[str, Any]) -> None:
        if "id" in message:
            worker.answer(message, AGREED)

    upstream = Upstream(helpful)
    await upstream.it.ready(Handshake(params=b"{}", protocol="2025-11-25", log_level=b'{"level":"info"}'))
    assert upstream.frames == []
    upstream.it.send(request(5, "ping", b"{}"))
    assert len(upstream.frames) == 1


def test_what_a_new_worker_must_be_told_is_bounded() -> None:
    """A record that outgrew its store could not be written any more, and would not count crashes."""
    handshake = HANDSHAKE
    for number in range(100):
        handshake = with_subscription(handshake, f"{number:03}" + "é" * 5000)
    assert sum(len(uri.encode()) for uri in handshake.subscriptions) <= SUBSCRIPTIONS_BYTES_MAX
    assert handshake.subscriptions[-1].startswith("099")
    body = request(1, "logging/setLevel", b'{"level":"%s"}' % (b"x" * 10_000))
    assert change_of("logging/setLevel", body)(handshake).log_level is None


async def test_a_worker_that_cannot_be_started_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    upstream = Upstream(agrees)
    upstream.workers.refusing = True
    with pytest.raises(Unavailable, match="no worker today"):
        await upstream.it.open(INITIALIZE, 1)
    assert "a start failed: no worker today" in caplog.text
    assert upstream.it._expected == {}
