"""The wall clock is set by hours between two lives of a process; within one it cannot be (`SystemClock`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast import NotFound, SessionManager
from holdfast.testing import ManualClock

from ..stores.engines import ENGINES

Sessions = SessionManager[dict[str, Any]]

NOW = 1_800_000_000.0
HOURS = 5 * 3600.0


@pytest.fixture(params=["sqlite", *ENGINES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/sessions.db"


async def first_life(url: str) -> None:
    """Leave a session that lives, one that is deleted, one that had expired, and one with a request in flight."""
    clock = ManualClock(NOW)
    async with Sessions.open(url, clock=clock) as sessions:
        await sessions.create({"n": 0}, id="lives", timeout=3600)
        await sessions.create(id="deleted", timeout=None)
        await sessions.create(id="expired", timeout=60)
        await sessions.create(id="asked", timeout=None)
        await sessions.requests.register("asked", 1)
        await sessions.delete("deleted")
        clock.advance(100)
        assert await sessions.cleanup_expired(late_s=0) == 1
        await sessions.touch("lives")


async def kinds_in_feed(sessions: Sessions) -> list[tuple[str, str]]:
    return [(event.session.id, type(event).__name__) async for event in sessions.follow(wait=False)]


async def test_a_clock_that_was_set_back_ends_nothing_early_and_brings_nothing_back(url: str) -> None:
    """R-MGR-3."""
    await first_life(url)
    clock = ManualClock(NOW - HOURS)
    async with Sessions.open(url, clock=clock) as sessions:
        assert sorted(await sessions.ids()) == ["asked", "lives"]
        assert (await sessions.get("lives")).last_accessed == NOW + 100
        assert await sessions.cleanup_expired(late_s=0) == 0
        for name in ("deleted", "expired"):
            with pytest.raises(NotFound):
                await sessions.get(name)
        updated = await sessions.update("lives", lambda draft: draft)
        assert (updated.version, updated.last_accessed) == (2, NOW + 100)
        assert await sessions.requests.pending("asked") == [1]
        await sessions.requests.trim()
        await sessions.trim_feed()
        assert (await kinds_in_feed(sessions))[-1] == ("lives", "SessionUpdated")
        await sessions.create(id="new", timeout=60)
        clock.advance(60)
        with pytest.raises(NotFound):
            await sessions.get("new")
        assert await sessions.cleanup_expired(late_s=0) == 1
        assert sorted(await sessions.ids()) == ["asked", "lives"]


async def test_a_clock_that_was_set_forward_ends_what_is_due_by_it_each_once(url: str) -> None:
    """R-MGR-3, R-MGR-7."""
    await first_life(url)
    async with Sessions.open(url, clock=ManualClock(NOW + HOURS)) as sessions:
        told: list[str] = []
        sessions.subscribe(lambda event: told.append(event.session.id))
        with pytest.raises(NotFound):
            await sessions.get("lives")
        assert await sessions.ids() == ["asked"]
        await sessions.cleanup_expired(late_s=0)
        await sessions.close()
        assert told == ["lives"]
        ends = [name for name, kind in await kinds_in_feed(sessions) if kind == "SessionExpired"]
        assert ends == ["expired", "lives"]
