"""What makes no sense is `Misused`, in a sentence, and nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from holdfast import Codec, FeedBounds, JournalBounds, Misused, NotFound, Session, SessionManager
from holdfast.sessions import Retention
from holdfast.stores import MemoryStore

Sessions = SessionManager[Any]
NO_TERMS: list[Any] = ["x", -1, True, 1.0, 2**63]
NO_SECONDS: list[Any] = [math.nan, -1, "1", True, 1j, Decimal(1), [1]]

# The method, its arguments, and those by name.
WRONG: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("create", [], {"tags": 5}),
    ("create", [], {"tags": None}),
    ("create", [], {"tags": [["list"]]}),
    ("tag", ["s", 5], {}),
    ("untag", ["s", ["list"]], {}),
    ("adopt", [{}], {}),
    ("expire_due", [1.5], {}),
    ("expire_due", [True], {}),
    ("expire_due", [0], {}),
    ("expire_due", [], {"now": "now"}),
    ("expire_due", [], {"now": math.inf}),
    ("subscribe", [print], {"waiting_max": "a"}),
    ("subscribe", [print], {"waiting_max": 1.5}),
    ("subscribe", ["print"], {}),
    ("list", ["s"], {}),
    ("scan", [], {"cursor": 5}),
    ("scan", [], {"prefix": 5}),
    ("scan", [], {"prefix": "\ud800"}),
    ("scan", [], {"tag": 5}),
    ("scan", [], {"owner": 5}),
    ("scan", [], {"state": "x"}),
    ("scan", [], {"state": ["active"]}),
    ("take_over", ["s", 1], {"owner": 5}),
    ("record_use", ["s", "x"], {"timeout": 5}),
    ("record_use", ["s", math.inf], {"timeout": 5}),
    *(("create", [], {"id": "other", "term": term}) for term in NO_TERMS),
    *(("update", ["s", lambda draft: draft], {"term": term}) for term in NO_TERMS),
    *(("take_over", ["s", term], {}) for term in NO_TERMS),
    *(("terminate", ["s"], {"term": term}) for term in NO_TERMS),
    *(("delete", ["s"], {"term": term}) for term in NO_TERMS),
    *(("ids", [], {"late_s": seconds}) for seconds in NO_SECONDS),
    *(("take_over", ["s", 1], {"late_s": seconds}) for seconds in NO_SECONDS),
    *(("cleanup_expired", [], {"late_s": seconds}) for seconds in NO_SECONDS),
    *(("expire_due", [], {"late_s": seconds}) for seconds in NO_SECONDS),
    *(("update", ["s", lambda draft: draft], {"within_s": seconds}) for seconds in NO_SECONDS),
    *(("close", [], {"within_s": seconds}) for seconds in NO_SECONDS),
    *(("create", [], {"timeout": seconds}) for seconds in NO_SECONDS),
    *(("create", [], {"max_age": seconds}) for seconds in NO_SECONDS),
    *(("set_timeout", ["s", seconds], {}) for seconds in NO_SECONDS),
    *(("record_use", ["s", 1.0], {"timeout": seconds}) for seconds in NO_SECONDS),
]


@pytest.mark.parametrize(("name", "arguments", "named"), WRONG, ids=lambda value: repr(value)[:40])
async def test_what_makes_no_sense_is_misused_and_changes_nothing(
    name: str, arguments: list[Any], named: dict[str, Any]
) -> None:
    """R-MGR-1, R-MGR-3, R-MGR-5, R-MGR-6."""
    sessions: Sessions = SessionManager(MemoryStore())
    before = await sessions.create(id="s", tags=["t"])
    with pytest.raises(Misused) as raised:
        await getattr(sessions, name)(*arguments, **named)
    assert " " in str(raised.value)
    assert await sessions.ids() == ["s"]
    assert (await sessions.peek("s")).version == before.version


async def test_an_answer_is_bytes() -> None:
    """R-MGR-13."""
    sessions: Sessions = SessionManager(MemoryStore())
    await sessions.create(id="s")
    await sessions.requests.register("s", 1)
    with pytest.raises(Misused, match="answer"):
        await sessions.requests.complete("s", 1, "text")  # type: ignore[arg-type]  # that is the fault
    assert await sessions.requests.pending("s") == [1]


@pytest.mark.parametrize("wrong", [5, {"sessions": 1}, "many"])
def test_a_manager_that_makes_no_sense_is_misused(wrong: Any) -> None:
    """R-MGR-8."""
    for arguments in (
        {"capacity": wrong},
        {"metadata_type": wrong},
        {"default_timeout": str(wrong)},
        {"retention": wrong},
    ):
        with pytest.raises(Misused):
            SessionManager(MemoryStore(), **arguments)


@pytest.mark.parametrize("session_id", [["s"], {}, None, 5])
async def test_what_could_be_no_id_is_not_there_whatever_is_held_in_memory(session_id: Any) -> None:
    """R-MGR-1: also beside sessions that are never written."""
    sessions: Sessions = SessionManager(MemoryStore())
    await sessions.create(id="s", durable=False)
    acts: list[Callable[[], Awaitable[Any]]] = [
        lambda: sessions.get(session_id),
        lambda: sessions.touch(session_id),
        lambda: sessions.peek(session_id),
        lambda: sessions.update(session_id, lambda draft: draft),
        lambda: sessions.set_timeout(session_id, 5),
        lambda: sessions.terminate(session_id),
        lambda: sessions.take_over(session_id, 1),
        lambda: sessions.requests.register(session_id, 1),
        lambda: sessions.requests.complete(session_id, 1),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            await act()
    assert await sessions.requests.pending(session_id) == []
    assert not await sessions.delete(session_id)


async def test_any_patience_is_a_patience() -> None:
    """R-MGR-5: it may be without end, or none."""
    sessions: Sessions = SessionManager(MemoryStore())
    await sessions.create(id="s", term=2**63 - 1)
    for seconds in (0, 0.0, 1, math.inf, 10**400):
        await sessions.update("s", lambda draft: draft, within_s=seconds, term=2**63 - 1)
        assert await sessions.cleanup_expired(late_s=seconds) == 0
        assert await sessions.ids(late_s=seconds) == ["s"]
    assert isinstance(await sessions.adopt(Session.new()), Session)


@pytest.mark.parametrize("name", ["journal", "feed"])
def test_a_retention_that_makes_no_sense_is_misused(name: str) -> None:
    """R-MGR-13, R-MGR-10."""
    with pytest.raises(Misused, match=name):
        Retention(**{name: 5})  # type: ignore[arg-type]  # that is the fault


@pytest.mark.parametrize("wrong", [-1, math.nan, "day", True, None])
def test_bounds_that_make_no_sense_are_misused(wrong: Any) -> None:
    """R-MGR-13, R-MGR-10: else a trim that comes a minute later would fail for ever."""
    for kind in (JournalBounds, FeedBounds):
        for name in kind.__struct_fields__:
            with pytest.raises(Misused, match=rf"{kind.__name__}\({name}="):
                kind(**{name: wrong})
    with pytest.raises(Misused, match="it is an int"):
        FeedBounds(bytes_max=1.5)  # type: ignore[arg-type]  # that is the fault


@pytest.mark.parametrize("wrong", [5, None, "keys", b"keys"])
async def test_a_codec_that_makes_no_sense_is_misused(wrong: Any) -> None:
    """R-STO-6: in memory too, where nothing would be encrypted and nobody would be told."""
    for url in ("memory://", "sqlite:///never.db"):
        with pytest.raises(Misused, match="codec is a Codec"):
            async with SessionManager.open(url, codec=wrong):
                pass
    if wrong is not None:
        with pytest.raises(Misused, match="keys is a KeyRing"):
            Codec(keys=wrong)


@pytest.mark.parametrize(
    "url",
    [5, None, b"memory://", "", "x", "redis://h", "http://[", "memory:///x", "memory://?x=1"]
    + [f"{kind}:///{path}" for kind in ("sqlite", "leveldb", "rocksdb") for path in ("", "a%00b", "\ud800", "a#b")],
)
async def test_an_address_that_makes_no_sense_is_misused(url: Any) -> None:
    """R-STO-1."""
    with pytest.raises(Misused, match="address"):
        async with SessionManager.open(url):
            pass
