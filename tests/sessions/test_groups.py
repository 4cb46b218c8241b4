"""Tags, and all sessions that carry one."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Misused, NotFound, Progress, SessionManager, Unavailable
from holdfast.testing import ManualClock

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


async def test_tags_come_and_go_at_any_time(sessions: Sessions) -> None:
    """R-MGR-9."""
    await sessions.create({"n": 1}, id="s", tags=["a"])
    tagged = await sessions.tag("s", "b", "c")
    assert (set(tagged.tags), tagged.metadata, tagged.version) == ({"a", "b", "c"}, {"n": 1}, 2)
    untagged = await sessions.untag("s", "a", "c", "never there")
    assert untagged.tags == (await sessions.peek("s")).tags == {"b"}


async def test_a_tag_too_many_or_of_no_form_is_refused(sessions: Sessions) -> None:
    """R-MGR-9."""
    await sessions.create(id="s", tags=[f"t{at}" for at in range(64)])
    for bad in ("new", "", "x" * 256, "\ud800", 7):
        with pytest.raises(Misused):
            await sessions.tag("s", bad)  # type: ignore[arg-type]  # that is the fault
    assert (await sessions.tag("s", "t1")).version == 2
    with pytest.raises(NotFound):
        await sessions.tag("nobody", "t")
    with pytest.raises(Misused):
        sessions.group("")


async def test_a_group_is_who_has_its_tag(sessions: Sessions) -> None:
    """R-MGR-9."""
    beta = sessions.group("beta")
    assert await beta.count() == 0
    for name in ("a", "b", "c"):
        await sessions.create(id=name, tags=["beta"] if name == "a" else [])
    await beta.join("b")
    assert sorted([session.id async for session in beta.members()]) == ["a", "b"]
    await beta.leave("a")
    await sessions.terminate("c")
    assert await beta.count() == 1


async def test_an_act_on_a_group_reaches_all_in_batches_and_tells_how_far_it_is(
    sessions: Sessions, clock: ManualClock
) -> None:
    """R-MGR-9."""
    for at in range(250):
        await sessions.create(id=f"s{at:03}", tags=["beta"])
    await sessions.create(id="other")
    told: list[Progress] = []
    assert await sessions.group("beta").set_timeout(5, on_progress=told.append) == Progress(250, 0)
    assert told == [Progress(100, 0), Progress(200, 0), Progress(250, 0)]
    assert {session.timeout for session in await sessions.list()} == {5.0, 3600.0}
    assert await sessions.group("beta").terminate("over") == Progress(250, 0)
    assert await sessions.ids() == ["other"]
    assert (await sessions.peek("s007")).reason == "over"


async def test_members_that_go_meanwhile_are_counted_as_gone(sessions: Sessions) -> None:
    """R-MGR-9."""
    for at in range(150):
        await sessions.create(id=f"s{at:03}", tags=["beta"], timeout=None)

    class Leaving(SessionManager[Metadata]):
        """One in whose way somebody else deletes a member."""

        async def set_timeout(self, session_id: str, timeout: Any, *, sync: bool = True) -> Any:
            if session_id == "s120":
                await sessions.delete(session_id)
            return await super().set_timeout(session_id, timeout, sync=sync)

    leaving = Leaving(sessions._store, clock=sessions._clock)
    assert await leaving.group("beta").set_timeout(9) == Progress(149, 1)


async def test_an_error_interrupts_an_act_on_a_group(sessions: Sessions) -> None:
    """R-MGR-9: what was done stays, and doing it again is safe."""
    for at in range(150):
        await sessions.create(id=f"s{at:03}", tags=["beta"], timeout=None)

    class Failing(SessionManager[Metadata]):
        async def terminate(self, session_id: str, reason: str | None = None, *, term: int | None = None) -> Any:
            if session_id == "s120":
                raise Unavailable("the disk is away")
            return await super().terminate(session_id, reason, term=term)

    with pytest.raises(Unavailable):
        await Failing(sessions._store, clock=sessions._clock).group("beta").terminate()
    assert await sessions.ids() == ["s120"]
    assert await sessions.group("beta").terminate() == Progress(1, 0)
