"""What a manager does with what has ended a little while ago, and with what it cannot read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import Corrupt, Draft, NotFound, SessionManager
from holdfast.stores.sqlite_file import connect
from holdfast.testing import ManualClock

Sessions = SessionManager[dict[str, Any]]


async def test_ids_lists_what_has_ended_less_than_so_long_ago(sessions: Sessions, clock: ManualClock) -> None:
    """R-STO-5: for whoever takes sessions over from an owner that did not write its last accesses."""
    await sessions.create(id="s", timeout=10)
    await sessions.create(id="t", timeout=100)
    clock.advance(12)
    assert await sessions.ids() == ["t"]
    assert sorted(await sessions.ids(late_s=3)) == ["s", "t"]
    clock.advance(1)
    assert await sessions.ids(late_s=3) == ["t"]


async def test_a_session_of_somebody_else_is_not_taken_over(sessions: Sessions) -> None:
    """R-MCP-4: nor is it told that it is there."""
    await sessions.create(id="hers", owner="ada")
    await sessions.create(id="nobody's")
    for session_id, owner in (("hers", "bob"), ("hers", None), ("nobody's", "bob")):
        with pytest.raises(NotFound):
            await sessions.take_over(session_id, 1, owner=owner)
    assert (await sessions.take_over("hers", 1, owner="ada")).term == 1
    assert (await sessions.take_over("nobody's", 2, owner=None)).term == 2
    assert (await sessions.take_over("hers", 3)).term == 3


async def test_what_is_terminated_stays_a_day_at_most(sessions: Sessions, clock: ManualClock) -> None:
    """R-LIF-4: however long it would have lived."""
    await sessions.create(id="s", timeout=10 * 86_400)
    assert (await sessions.terminate("s")).timeout == 86_400
    clock.advance(86_399)
    assert (await sessions.peek("s")).state == "terminated"
    clock.advance(1)
    with pytest.raises(NotFound):
        await sessions.peek("s")


async def test_a_session_knows_its_last_access(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-2: of `get` it is the access that this one was; of `peek` the one before."""
    await sessions.create(id="s")
    clock.advance(5)
    used_at = clock.now()
    assert (await sessions.get("s")).last_accessed == used_at
    clock.advance(5)
    assert (await sessions.peek("s")).last_accessed == used_at
    seen: list[float] = []

    def note(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
        seen.append(draft.last_accessed)
        return draft

    await sessions.update("s", note)
    assert seen == [used_at]
    assert (await sessions.peek("s")).last_accessed == clock.now()


async def test_what_cannot_be_read_can_be_deleted(tmp_path: Path) -> None:
    """R-MGR-5: and then its id is free."""
    path = tmp_path / "sessions.db"
    async with Sessions.open(f"sqlite:///{path}") as sessions:
        await sessions.create(id="s")
        with closing(connect(path)) as connection:
            connection.execute("UPDATE sessions SET body = x'00'")
        with pytest.raises(Corrupt):
            await sessions.get("s")
        assert await sessions.delete("s") is True
        assert await sessions.delete("s") is False
        assert (await sessions.create({"n": 1}, id="s")).version == 1
