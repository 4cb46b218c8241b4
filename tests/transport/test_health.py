"""What the pages for load balancers say when something does not work."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from holdfast.stores.sqlite import SqliteStore
from holdfast.transport.asgi import Exchange
from holdfast.transport.health import ALIVE_PATH, KEPT_S, READY_PATH, Check, Health
from holdfast.transport.problems import Problem

from .edges import Answered


async def ask(health: Health, path: str = READY_PATH, verb: str = "GET") -> Answered:
    answered = Answered()

    async def receive() -> dict[str, object]:
        raise AssertionError("nothing is read")

    assert await health.serve(Exchange({"method": verb, "path": path, "headers": []}, receive, answered.send))
    return answered


def health_of(*, is_draining: bool = False, **checks: Check) -> Health:
    return Health(checks, lambda: is_draining)


async def a_moment() -> None:
    """Return when what was found is no longer told."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(1.1 * KEPT_S, over.set)
    await over.wait()


async def nothing() -> None:
    return


async def test_a_store_that_does_not_answer_is_named_and_nothing_else_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-OPS-4."""
    async with SqliteStore.open(tmp_path / "sessions.db") as store:
        health = health_of(store=partial(store.get, "readiness"), keeper=nothing)
        assert (await ask(health)).status == 200
    await a_moment()
    answered = await ask(health)
    assert (answered.status, json.loads(answered.body)) == (503, {"ready": False, "failing": ["store"]})
    assert answered.headers[b"cache-control"] == b"no-store"
    assert "reader is closed" in caplog.text


async def test_a_check_that_never_ends_is_begun_once_and_holds_up_nobody_for_long() -> None:
    began = 0

    async def hangs() -> None:
        nonlocal began
        began += 1
        await asyncio.Event().wait()

    health = health_of(store=hangs)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(ask(health) for _ in range(5)), ask(health, ALIVE_PATH))
    assert [answered.status for answered in answers] == [503] * 5 + [200]
    assert (await ask(health)).status == 503
    assert began == 1


async def test_what_was_found_is_told_for_a_moment_without_looking_again() -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    health = health_of(store=look)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(100):
        assert (await ask(health)).status == 200
    assert looks <= 1 + (loop.time() - began) / KEPT_S
    before = looks
    await a_moment()
    assert (await ask(health)).status == 200
    assert looks == before + 1


async def test_what_fails_is_logged_once_and_that_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    fails = True

    async def check() -> None:
        if fails:
            raise OSError("no space")

    health = health_of(store=check)
    assert (await ask(health)).status == 503
    await a_moment()
    assert (await ask(health)).status == 503
    fails = False
    await a_moment()
    assert (await ask(health)).status == 200
    assert caplog.messages == ["not ready, the store does not work: no space", "the store works again"]


async def test_a_server_that_drains_is_not_ready_and_alive() -> None:
    health = health_of(is_draining=True, store=nothing)
    answered = await ask(health)
    assert (answered.status, json.loads(answered.body)["failing"]) == (503, ["draining"])
    assert (await ask(health, ALIVE_PATH)).status == 200


@pytest.mark.parametrize("path", [READY_PATH, ALIVE_PATH])
async def test_the_pages_are_only_read(path: str) -> None:
    with pytest.raises(Problem, match="only be read"):
        await ask(health_of(), path, "DELETE")


async def test_other_paths_are_left_to_others() -> None:
    async def unused(event: Any = None) -> Any:
        raise AssertionError("nothing is read or sent")

    exchange = Exchange({"method": "GET", "path": "/healthz/x", "headers": []}, unused, unused)
    assert not await health_of().serve(exchange)
