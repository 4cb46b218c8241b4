"""Requests in flight are known until they are completed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast import Conflict, Misused, NotFound, SessionManager
from holdfast.testing import ManualClock

Sessions = SessionManager[dict[str, Any]]


async def test_a_request_is_pending_until_it_is_completed(sessions: Sessions) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    for request_id in (1, "1", -5, "é"):
        await sessions.requests.register(session.id, request_id)
    await sessions.requests.complete(session.id, 1, b"answer")
    assert await sessions.requests.pending(session.id) == ["1", -5, "é"]


async def test_clients_cannot_collide(sessions: Sessions) -> None:
    """R-MGR-13."""
    one, other = await sessions.create(), await sessions.create()
    await sessions.requests.register(one.id, 1)
    await sessions.requests.register(other.id, 1)
    await sessions.requests.complete(one.id, 1)
    assert await sessions.requests.pending(one.id) == []
    assert await sessions.requests.pending(other.id) == [1]


async def test_of_the_same_request_twice_one_is_registered(sessions: Sessions) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    twice = [sessions.requests.register(session.id, 1) for _ in range(2)]
    outcomes = await asyncio.gather(*twice, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [Conflict]
    await sessions.requests.complete(session.id, 1)
    await sessions.requests.register(session.id, 1)
    assert await sessions.requests.pending(session.id) == [1]


async def test_what_is_not_pending_cannot_be_completed(sessions: Sessions) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    await sessions.requests.register(session.id, "1")
    with pytest.raises(NotFound):
        await sessions.requests.complete(session.id, 1)


async def test_a_session_that_is_gone_has_no_requests(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-13, R-MGR-3."""
    session = await sessions.create(timeout=10)
    await sessions.requests.register(session.id, 1)
    clock.advance(10)
    with pytest.raises(NotFound):
        await sessions.requests.register(session.id, 2)
    with pytest.raises(NotFound):
        await sessions.requests.register("nobody", 1)
    assert await sessions.requests.pending("nobody") == []


@pytest.mark.parametrize("request_id", [True, 1.0, None, 2**53, -(2**53), "\ud800", "x" * 2000], ids=repr)
async def test_what_is_no_request_id_is_refused(sessions: Sessions, request_id: Any) -> None:
    """R-MGR-13."""
    session = await sessions.create()
    with pytest.raises(Misused):
        await sessions.requests.register(session.id, request_id)


async def test_requests_survive_the_manager_that_took_them(tmp_path: Path) -> None:
    """R-MGR-13."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    async with Sessions.open(url) as sessions:
        await sessions.create(id="s")
        await sessions.requests.register("s", 7)
    async with Sessions.open(url) as sessions:
        assert await sessions.requests.pending("s") == [7]
