"""Snapshots: taken, listed, compared, restored, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    Capacity,
    Corrupt,
    Draft,
    Misused,
    NotFound,
    Refused,
    SessionEvent,
    SessionManager,
    open_store,
)
from holdfast.backup import BroughtBack, Change, Snapshots
from holdfast.backup.changes import changed_fields
from holdfast.codec import encode
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, record_of

from ..kit import LoopWatch
from ..stores.engines import ENGINES
from .test_backup import names_in

Manager = SessionManager[dict[str, Any]]
Told = list[tuple[str, str, int]]


class World:
    """A manager, its clock, its snapshots, and what it told."""

    def __init__(self, sessions: Manager, folder: Path, clock: ManualClock) -> None:
        self.sessions = sessions
        self.clock = clock
        self.folder = folder
        self.snapshots = Snapshots(sessions, folder, clock=clock)
        self.told: Told = []
        sessions.subscribe(self._note)

    def _note(self, event: SessionEvent[dict[str, Any]]) -> None:
        self.told.append((type(event).__name__, event.session.id, event.session.version))

    async def changes(self, *names: str) -> list[Change]:
        return sorted([change async for change in self.snapshots.diff(*names)], key=lambda change: change.id)

    async def set(self, name: str, **metadata: Any) -> None:
        def change(draft: Any) -> Any:
            draft.metadata.update(metadata)
            return draft

        await self.sessions.update(name, change)


@pytest.fixture(params=["memory", "sqlite", *ENGINES])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = "memory://" if request.param == "memory" else f"{request.param}:///{tmp_path}/sessions"
    clock = ManualClock(NOW)
    async with open_store(url) as store:
        sessions: Manager = SessionManager(store, clock=clock, default_timeout=1000)
        try:
            yield World(sessions, tmp_path / "snapshots", clock)
        finally:
            await sessions.close()


async def test_sessions_become_what_they_were(world: World) -> None:
    """R-MGR-10: as new versions with events; what is not in the snapshot is left alone."""
    sessions = world.sessions
    await sessions.create({"n": 1, "t": (1, {2})}, id="a", tags=["x"], timeout=100)
    await sessions.create({"n": 1}, id="b")
    info = await world.snapshots.take("one")
    assert (info.name, info.taken_at, info.sessions) == ("one", NOW, 2)
    world.clock.advance(50)
    await world.set("a", n=2, more=b"x")
    await sessions.untag("a", "x")
    await sessions.set_timeout("a", 5000)
    await sessions.create({"n": 9}, id="new")
    world.clock.advance(10)
    assert await world.snapshots.restore("one") == BroughtBack(changed=1, same=1)
    back = await sessions.peek("a")
    assert (back.metadata, set(back.tags), back.timeout) == ({"n": 1, "t": (1, {2})}, {"x"}, 100.0)
    assert (back.version, back.created_at, back.last_accessed) == (5, NOW, NOW + 60)
    same = await sessions.peek("b")
    assert (same.version, same.last_accessed) == (1, NOW + 60)
    assert (await sessions.peek("new")).metadata == {"n": 9}
    await sessions.close()
    assert world.told[-1] == ("SessionUpdated", "a", 5)


async def test_what_is_deleted_or_expired_stays_so_unless_chosen(world: World) -> None:
    """R-MGR-10."""
    sessions = world.sessions
    await sessions.create({"n": 1}, id="deleted", max_age=500, owner="ada", tags=["x"])
    await sessions.create({"n": 1}, id="expired", timeout=10)
    await sessions.create({"n": 1}, id="another")
    await world.snapshots.take("one")
    world.clock.advance(100)
    await sessions.delete("deleted")
    await sessions.delete("another")
    await sessions.create({"n": 2}, id="another")
    assert await world.snapshots.restore("one") == BroughtBack(gone=3)
    for name in ("deleted", "expired"):
        with pytest.raises(NotFound):
            await sessions.peek(name)
    assert await world.snapshots.restore("one", deleted=True) == BroughtBack(created=2, taken=1)
    back = await sessions.peek("deleted")
    assert (back.metadata, back.owner, set(back.tags), back.version) == ({"n": 1}, "ada", {"x"}, 1)
    assert (back.created_at, back.max_age) == (NOW + 100, 400), "it ends when it would have"
    assert (await sessions.peek("another")).metadata == {"n": 2}
    assert await world.snapshots.restore("one", deleted=True) == BroughtBack(taken=3)
    await sessions.close()
    assert world.told.count(("SessionCreated", "deleted", 1)) == 2


async def test_what_has_ended_for_good_stays_so(world: World) -> None:
    """R-LIF-4, R-MGR-10: chosen or not."""
    sessions = world.sessions
    await sessions.create({}, id="terminated")
    await sessions.create({}, id="ended before")
    await sessions.terminate("ended before")
    await sessions.create({}, id="aged", max_age=50, timeout=None)
    await world.snapshots.take("one")
    await sessions.terminate("terminated")
    world.clock.advance(50)
    for deleted in (False, True):
        counts = await world.snapshots.restore("one", deleted=deleted)
        assert counts == BroughtBack(terminated=2, expired=1)
    assert (await sessions.peek("terminated")).state == "terminated"


async def test_one_session_is_taken_and_restored_alone(world: World) -> None:
    """R-MGR-10."""
    for name in ("a", "b"):
        await world.sessions.create({"n": 1}, id=name)
    await world.snapshots.take("a", session_id="a")
    await world.snapshots.take("both")
    for name in ("a", "b"):
        await world.set(name, n=2)
    assert await world.snapshots.restore("both", session_id="b") == BroughtBack(changed=1)
    assert [(await world.sessions.peek(name)).metadata["n"] for name in ("a", "b")] == [2, 1]
    assert await world.snapshots.restore("a") == BroughtBack(changed=1)
    assert (await world.sessions.peek("a")).metadata["n"] == 1
    with pytest.raises(NotFound, match="is not in snapshot a"):
        await world.snapshots.restore("a", session_id="b")
    with pytest.raises(NotFound):
        await world.snapshots.take("none", session_id="nobody")
    assert names_in(world.folder) == ["a.hfs", "both.hfs"]


async def test_what_is_different_is_told_without_values(world: World) -> None:
    """R-MGR-10."""
    sessions = world.sessions
    for name in ("changed", "deleted", "same", "another"):
        await sessions.create({"n": 1, "secret": "old"}, id=name)
    await world.snapshots.take("one")
    await world.set("changed", secret="new", more=1)
    await sessions.tag("changed", "x")
    for name in ("deleted", "another"):
        await sessions.delete(name)
    await sessions.create({}, id="created")
    world.clock.advance(1)
    await sessions.create({"n": 1, "secret": "old"}, id="another")
    await sessions.get("same")
    expected = [
        Change(id="another", kind="changed", fields=("created_at",)),
        Change(id="changed", kind="changed", fields=("tags", "metadata.more", "metadata.secret")),
        Change(id="created", kind="created"),
        Change(id="deleted", kind="deleted"),
    ]
    assert await world.changes("one") == expected
    await world.snapshots.take("two")
    assert await world.changes("one", "two") == expected
    assert await world.changes("two") == await world.changes("two", "two") == []
    assert names_in(world.folder) == ["one.hfs", "two.hfs"]


async def test_snapshots_are_listed_the_oldest_first_and_deleted(world: World) -> None:
    """R-MGR-10."""
    assert await world.snapshots.list() == []
    await world.sessions.create({})
    for name in ("z", "a"):
        await world.snapshots.take(name)
        world.clock.advance(10)
    unnamed = await world.snapshots.take()
    assert unnamed.name == "holdfast-20270115T080020Z"
    (world.folder / "other.txt").write_text("mine")
    (world.folder / "broken.hfs").write_text("nonsense")
    found = await world.snapshots.list()
    assert [info.name for info in found] == ["broken", "z", "a", unnamed.name]
    assert [bool(info.damage) for info in found] == [True, False, False, False]
    assert found[1].size_bytes == (world.folder / "z.hfs").stat().st_size
    assert [info.sessions for info in found[1:]] == [1, 1, 1]
    await world.snapshots.delete("z")
    with pytest.raises(NotFound, match="no snapshot z"):
        await world.snapshots.delete("z")
    assert (world.folder / "other.txt").exists()


async def test_a_snapshot_is_never_written_over(world: World) -> None:
    await world.snapshots.take("one")
    before = (world.folder / "one.hfs").read_bytes()
    await world.sessions.create({})
    with pytest.raises(Misused, match="is there already"):
        await world.snapshots.take("one")
    assert (world.folder / "one.hfs").read_bytes() == before
    assert names_in(world.folder) == ["one.hfs"]
    assert (world.folder / "one.hfs").stat().st_mode & 0o777 == 0o600
    assert world.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "é", "x" * 101, "a\0"])
async def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    """R-SEC-3."""
    async with SessionManager[dict[str, Any]].open("memory://") as sessions:
        snapshots = Snapshots(sessions, tmp_path / "snapshots")
        for act in (snapshots.delete, snapshots.restore):
            with pytest.raises(Misused, match="no name for a snapshot"):
                await act(name)
        if name:
            with pytest.raises(Misused, match="no name for a snapshot"):
                await snapshots.take(name)
    assert names_in(tmp_path) == []


async def test_damage_is_found_before_anything_is_changed(world: World) -> None:
    """R-MGR-10."""
    for at in range(20):
        await world.sessions.create({"n": 1}, id=f"s{at}")
    await world.snapshots.take("one")
    for at in range(20):
        await world.set(f"s{at}", n=2)
    path = world.folder / "one.hfs"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corrupt, match="snapshot one is damaged"):
        await world.snapshots.restore("one")
    assert [(await world.sessions.peek(f"s{at}")).metadata["n"] for at in range(20)] == [2] * 20


async def test_what_is_in_memory_only_is_in_no_snapshot(world: World) -> None:
    """R-MGR-1."""
    await world.sessions.create({}, id="here", durable=False)
    await world.sessions.create({}, id="there")
    info = await world.snapshots.take("one")
    assert info.sessions == 1
    with pytest.raises(Misused, match="durable=False and is never written"):
        await world.snapshots.take("two", session_id="here")
    assert [change.id for change in await world.changes("one")] == []
    assert names_in(world.folder) == ["one.hfs"]


async def test_what_has_expired_is_in_no_snapshot(world: World) -> None:
    """R-MGR-3."""
    await world.sessions.create({}, id="expired", timeout=10)
    await world.sessions.create({}, id="alive")
    world.clock.advance(20)
    assert (await world.snapshots.take("one")).sessions == 1


async def test_bringing_back_keeps_to_the_capacity_and_loses_no_update() -> None:
    """R-MGR-8, R-MGR-4."""
    room = Capacity(sessions=1)
    async with SessionManager[dict[str, Any]].open("memory://", clock=ManualClock(NOW), capacity=room) as sessions:
        await sessions.create({"n": 1, "at": 0}, id="a")
        record = await sessions.record_of("a")

        def change(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
            draft.metadata["at"] += 1
            return draft

        await asyncio.gather(*(sessions.update("a", change) for _ in range(5)), sessions.bring_back(record))
        assert (await sessions.peek("a")).version == 7
        await sessions.delete("a")
        await sessions.create({}, id="b")
        with pytest.raises(Refused):
            await sessions.bring_back(record, deleted=True)
        await sessions.delete("b")
        assert await sessions.bring_back(record, deleted=True) == "created"


async def test_a_snapshot_of_a_store_that_has_no_moments_is_refused(tmp_path: Path) -> None:
    class Plain:
        """A store of six methods, none of which is called."""

    sessions = Manager(Plain())  # type: ignore[arg-type]  # it is never asked
    with pytest.raises(Misused, match="Plain has no moments"):
        await Snapshots(sessions, tmp_path / "snapshots").take()
    assert names_in(tmp_path / "snapshots") == []


async def test_nobody_waits_for_snapshots(world: World) -> None:
    """R-PER-5."""
    for at in range(2000):
        await world.sessions.create({"n": at}, id=f"s{at}")
    for number, watch in enumerate(LoopWatch.rounds()):
        with watch:
            await world.snapshots.take(f"n{number}")
            assert await world.changes(f"n{number}") == []
            assert await world.snapshots.restore(f"n{number}") == BroughtBack(same=2000)


def test_a_change_is_named_even_where_the_values_look_the_same() -> None:
    same = {"n": 1}
    before, after = (record_of("s", metadata=encode({"n": value})) for value in (1, True))
    assert changed_fields(before, record_of("s", metadata=encode(same))) == ()
    assert changed_fields(before, after) == ("metadata",)
    assert changed_fields(before, record_of("s", metadata=b"\xc1")) == ("metadata",)
    assert changed_fields(before, record_of("s", version=9, term=9, last_accessed=NOW + 9, metadata=encode(same))) == ()
