"""Sessions without a manager, sessions that are never written, and live objects that belong to a session."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast import Conflict, Draft, Misused, NotFound, Refused, Session, SessionManager, open_store
from holdfast.stores import MemoryStore
from holdfast.stores.sqlite_file import connect
from holdfast.testing import ManualClock
from tests.kit import eventually_async

Metadata = dict[str, Any]
Sessions = SessionManager[Metadata]


class Cart(msgspec.Struct):
    items: list[str] = []


def increment(draft: Draft[Metadata]) -> Draft[Metadata]:
    draft.metadata["n"] += 1
    return draft


# -- alone


async def test_a_session_is_made_alone_and_adopted_later(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-14."""
    cart = Session[Metadata].new({"items": []}, owner="ada", tags=["cart"])
    cart.metadata["items"].append("tea")
    cart.local["task"] = sentinel = object()
    assert (len(cart.id), cart.version, cart.state, cart.timeout) == (32, 0, "active", None)
    stored = await sessions.adopt(cart, timeout=60, max_age=600)
    assert (stored.id, stored.version, stored.owner, set(stored.tags)) == (cart.id, 1, "ada", {"cart"})
    assert (stored.timeout, stored.max_age, stored.created_at) == (60.0, 600.0, clock.now())
    assert (await sessions.get(cart.id)).metadata == {"items": ["tea"]}
    assert (await sessions.get(cart.id)).local["task"] is sentinel
    with pytest.raises(Conflict):
        await sessions.adopt(cart)
    with pytest.raises(Misused, match="stored already"):
        await sessions.adopt(stored)


async def test_a_session_alone_is_changed_as_a_draft_is(sessions: Sessions) -> None:
    """R-MGR-14."""
    cart = Session[Metadata].new(tags=["cart"])
    cart.metadata = {"items": ["tea"]}
    cart.tags = cart.tags | {"open"}
    cart.timeout = timedelta(minutes=1)
    stored = await sessions.adopt(cart)
    assert (stored.metadata, set(stored.tags), stored.timeout) == ({"items": ["tea"]}, {"cart", "open"}, 60.0)
    assert (await sessions.adopt(Session[Metadata].new())).timeout == 3600.0
    bad = Session[Metadata].new()
    bad.timeout = -1.0
    with pytest.raises(Misused, match="timeout is 0 seconds or more"):
        await sessions.adopt(bad)


async def test_a_session_alone_gets_the_metadata_of_the_manager_that_adopts_it(clock: ManualClock) -> None:
    """R-MGR-14: unless somebody looked at it before."""
    carts = SessionManager(MemoryStore(), metadata_type=Cart, clock=clock)
    assert (await carts.adopt(Session[Cart].new())).metadata == Cart(items=[])
    alone = Session[Any].new()
    assert alone.metadata == {}
    with pytest.raises(Misused, match="Cart"):
        await carts.adopt(alone)


async def test_what_is_adopted_must_be_storable(sessions: Sessions) -> None:
    """R-MGR-12."""
    alone = Session[Metadata].new({"price": 1j})
    with pytest.raises(Misused, match=r"metadata\.price: complex is not storable"):
        await sessions.adopt(alone)
    with pytest.raises(NotFound):
        await sessions.peek(alone.id)


@pytest.mark.parametrize("bad", [{"id": ""}, {"id": "a\0"}, {"owner": ""}, {"tags": "cart"}, {"tags": [7]}])
def test_a_session_made_alone_is_checked_like_any(bad: dict[str, Any]) -> None:
    with pytest.raises(Misused):
        Session.new(**bad)


# -- never written


def files_with(folder: Path, text: bytes) -> list[str]:
    return [path.name for path in folder.iterdir() if text in path.read_bytes()]


async def test_what_is_not_durable_is_in_memory_alone(tmp_path: Path) -> None:
    """R-MGR-1: never written to store or journal."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    async with SessionManager[Metadata].open(url) as sessions, open_store(url) as file:
        await sessions.create({"n": 0}, id="kept")
        await sessions.create({"n": 0}, id="secret-of-nobody", durable=False, tags=["brief"], owner="ada")
        await sessions.update("secret-of-nobody", increment)
        await sessions.tag("secret-of-nobody", "marked-in-memory")
        await sessions.requests.register("secret-of-nobody", 7)
        assert await sessions.requests.pending("secret-of-nobody") == [7]
        await sessions.requests.register("kept", 8)
        assert (await sessions.get("secret-of-nobody")).metadata == {"n": 1}
        assert sorted(await sessions.ids()) == ["kept", "secret-of-nobody"]
        assert [session.id async for session in sessions.scan(tag="brief", owner="ada")] == ["secret-of-nobody"]
        assert await sessions.group("brief").count() == 1
        assert (await sessions.metrics()).by_state["active"] == 2
        assert await file.get("secret-of-nobody") is None
        with pytest.raises(Conflict):
            await sessions.create(id="secret-of-nobody")
        with pytest.raises(Conflict):
            await sessions.create(id="kept", durable=False)
        assert await sessions.delete("secret-of-nobody")
        await sessions.create(id="secret-of-nobody", durable=False, timeout=None)
        assert files_with(tmp_path, b"secret-of-nobody") == []
    assert files_with(tmp_path, b"kept") == ["sessions.db"]
    assert files_with(tmp_path, b"secret-of-nobody") == []
    async with SessionManager[Metadata].open(url) as sessions:
        assert await sessions.ids() == ["kept"]
        assert await sessions.requests.pending("kept") == [8]


async def test_what_is_not_durable_expires_and_frees_its_id(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-3."""
    await sessions.create(id="s", durable=False, timeout=5)
    clock.advance(5)
    with pytest.raises(NotFound):
        await sessions.get("s")
    clock.advance(sessions._late_s)
    await sessions.create(id="s", durable=False, timeout=5)
    clock.advance(5 + sessions._late_s)
    await sessions.create(id="s")
    await sessions.create(id="t", durable=False, timeout=5)
    clock.advance(5)
    assert await sessions.cleanup_expired(late_s=0) == 1
    assert await sessions.ids() == ["s"]


# -- live objects


async def test_live_objects_are_shared_by_all_who_hold_the_session(sessions: Sessions) -> None:
    """R-MGR-12."""
    session = await sessions.create({"n": 0}, id="s")
    lock = session.local.setdefault("lock", asyncio.Lock())
    assert (await sessions.get("s")).local["lock"] is lock
    assert (await sessions.update("s", increment)).local == {"lock": lock}
    assert (await sessions.create(id="t")).local == {}


@pytest.mark.parametrize("way", ["delete", "expire", "taken again"])
async def test_live_objects_go_with_the_session(sessions: Sessions, clock: ManualClock, way: str) -> None:
    """R-MGR-12."""
    session = await sessions.create(id="s", timeout=5)
    session.local["task"] = object()
    if way == "delete":
        await sessions.delete("s")
    elif way == "expire":
        clock.advance(5)
        await sessions.cleanup_expired(late_s=0)
    else:
        clock.advance(5 + sessions._late_s)
    assert (await sessions.create(id="s")).local == {}


async def test_live_objects_of_what_others_deleted_are_let_go(url: str, clock: ManualClock) -> None:
    """R-MGR-12: nobody has to ask for the session once more."""
    async with open_store(url) as store, SessionManager[Metadata](store, clock=clock) as sessions:
        for at in range(150):
            session = await sessions.create(id=f"s{at}", timeout=None)
            session.local["at"] = at
        for at in range(110, 150):  # behind those that are looked at first
            await store.delete(f"s{at}")
        await eventually_async(lambda: len(sessions._home.locals) == 110)
        assert (await sessions.peek("s109")).local == {"at": 109}


async def test_live_objects_are_nothing_to_whoever_gets_the_id_later(sessions: Sessions, clock: ManualClock) -> None:
    """R-MGR-12: though another manager deleted the session, and its owner puts in some more."""
    before = await sessions.create(id="s")
    before.local["task"] = object()
    others: Sessions = SessionManager(sessions._store, clock=clock)
    await others.delete("s")
    clock.advance(1)
    await others.create(id="s")
    before.local["more"] = object()
    assert (await sessions.get("s")).local == {}


async def test_live_objects_are_let_go_behind_a_session_that_cannot_be_read(tmp_path: Path) -> None:
    """R-MGR-12: what is damaged keeps its own, for somebody may repair it."""
    path = tmp_path / "sessions.db"
    async with open_store(f"sqlite:///{path}") as store, SessionManager[Metadata](store) as sessions:
        for name in ("damaged", "gone", "there"):
            (await sessions.create(id=name)).local["at"] = name
        with closing(connect(path)) as connection:
            connection.execute("UPDATE sessions SET body = x'00' WHERE id = 'damaged'")
        await store.delete("gone")
        await eventually_async(lambda: {key[0] for key in sessions._home.locals} == {"damaged", "there"})


# -- an update that takes its time


async def test_an_update_that_hangs_ends_and_lets_others_go_on(sessions: Sessions) -> None:
    """R-MGR-4."""
    await sessions.create({"n": 0}, id="s")

    async def hang(draft: Draft[Metadata]) -> Draft[Metadata]:
        draft.metadata["n"] = 7
        await asyncio.Event().wait()
        return draft

    async def fail(draft: Draft[Metadata]) -> Draft[Metadata]:
        raise TimeoutError("its own")

    hanging = asyncio.create_task(sessions.update("s", hang, within_s=0.05))
    await asyncio.sleep(0)
    updated = await sessions.update("s", increment)
    assert (updated.metadata, updated.version) == ({"n": 1}, 2)
    with pytest.raises(Refused, match="took longer"):
        await hanging
    with pytest.raises(TimeoutError, match="its own"):
        await sessions.update("s", fail)


async def test_an_update_that_is_cancelled_leaves_the_session_as_it_was(sessions: Sessions) -> None:
    """R-MGR-4."""
    await sessions.create({"n": 0}, id="s")
    begun = asyncio.Event()

    async def hang(draft: Draft[Metadata]) -> Draft[Metadata]:
        draft.metadata["n"] = 7
        begun.set()
        await asyncio.Event().wait()
        return draft

    hanging = asyncio.create_task(sessions.update("s", hang))
    await begun.wait()
    waiting = asyncio.create_task(sessions.update("s", increment))
    await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert (await waiting).metadata == {"n": 1}
