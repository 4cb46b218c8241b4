"""Any acts on a manager do what the same acts do to a dict that knows the rules, and its events tell as much."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast import (
    Conflict,
    Draft,
    NotFound,
    Session,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionManager,
    open_store,
)
from holdfast.testing import ManualClock

from ..stores.engines import WITH_PLYVEL

T = TypeVar("T")

IDS = st.sampled_from(["a", "b", "c"])
WAYS = ["create", "adopt", "not durable"]
TIMEOUTS = st.sampled_from([None, 0.0, 1.0, 5.0, 20.0])


class Expected:
    """What the dict keeps of a session."""

    def __init__(self, now: float, n: int, timeout: float | None, max_age: float | None) -> None:
        self.created_at = self.last_accessed = now
        self.n = n
        self.timeout = timeout
        self.max_age = max_age
        self.tags: set[str] = set()
        self.version = 1
        self.written = True
        self.ended = False

    def expired(self, now: float, late_s: float = 0.0) -> bool:
        """Whether it is over, and for so long that no use of others can be missing."""
        timeout = self.timeout and self.timeout + late_s
        return (timeout is not None and now - self.last_accessed >= timeout) or (
            self.max_age is not None and now - self.created_at >= self.max_age
        )


class ManagerMachine(RuleBasedStateMachine):
    """Drives a manager and the dict side by side; the store is a parameter of the subclasses."""

    kind = ""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        url = "memory://" if self.kind == "memory" else f"{self.kind}:///{Path(self.folder.name) / 'sessions.db'}"
        self.url = url
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.model: dict[str, Expected] = {}
        self.built: dict[str, Session[dict[str, Any]]] = {}
        self.term = 0
        self.enter()

    def enter(self) -> None:
        self.context = open_store(self.url)
        self.sessions: SessionManager[dict[str, Any]] = SessionManager(
            self.run(self.context.__aenter__()), clock=self.clock
        )
        self.sessions.subscribe(self.build)

    def leave(self) -> None:
        self.run(self.sessions.close())
        self.run(self.context.__aexit__(None, None, None))

    def build(self, event: SessionEvent[dict[str, Any]]) -> None:
        """Keep what the events tell, which must come in order."""
        session = event.session
        before = self.built.pop(session.id, None)
        if isinstance(event, SessionCreated):
            assert before is None
        else:
            assert before is not None
            lasts = isinstance(event, SessionDeleted | SessionExpired)
            assert session.version == before.version + (0 if lasts else 1)
            assert session.last_accessed >= before.last_accessed
            if lasts:
                return
        self.built[session.id] = session

    def run(self, act: Awaitable[T]) -> T:
        async def main() -> T:
            return await act

        return self.runner.run(main())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.leave()
            self.runner.close()
            self.folder.cleanup()

    def live(self, name: str) -> Expected | None:
        expected = self.model.get(name)
        return None if expected is None or expected.ended or expected.expired(self.clock.now()) else expected

    def accessed(self, name: str) -> Expected:
        expected = self.model[name]
        expected.last_accessed = self.clock.now()
        return expected

    def written(self, name: str) -> Expected:
        expected = self.accessed(name)
        expected.version += 1
        return expected

    def expect_gone_or(self, name: str, act: Awaitable[T]) -> T | None:
        if self.live(name) is None:
            with pytest.raises(NotFound):
                self.run(act)
            return None
        return self.run(act)

    @rule(name=IDS, n=st.integers(0, 5), timeout=TIMEOUTS, max_age=TIMEOUTS, way=st.sampled_from(WAYS))
    def create(self, name: str, n: int, timeout: float | None, max_age: float | None, way: str) -> None:
        metadata, durable = {"n": n}, way != "not durable"
        if way == "adopt":
            alone = Session[dict[str, Any]].new(metadata, id=name)
            act = self.sessions.adopt(alone, timeout=timeout, max_age=max_age)
        else:
            act = self.sessions.create(metadata, id=name, timeout=timeout, max_age=max_age, durable=durable)
        now = self.clock.now()
        if name in self.model and not self.model[name].expired(now, self.sessions._late_s):
            with pytest.raises(Conflict):
                self.run(act)
        else:
            self.run(act)
            self.model[name] = Expected(now, n, timeout, max_age)
            self.model[name].written = durable
        metadata["n"] = -1  # it is the caller's, and nothing stored

    @rule(name=IDS)
    def get(self, name: str) -> None:
        session = self.expect_gone_or(name, self.sessions.get(name))
        if session is not None:
            assert session.metadata == {"n": self.accessed(name).n}
            session.metadata["n"] = -1

    @rule(name=IDS, behind_s=st.sampled_from([0.5, 3.0, 1000.0]))
    def get_by_a_clock_that_is_behind(self, name: str, behind_s: float) -> None:
        expected = self.model.get(name)
        if expected is not None and not expected.ended and expected.written:
            others: SessionManager[dict[str, Any]] = SessionManager(
                self.sessions._store, clock=ManualClock(self.clock.now() - behind_s)
            )
            try:
                self.run(others.get(name))
            except NotFound:
                return
            # It may have been one of those that only expired by our clock: then it is used at a moment before.
            expected.last_accessed = max(expected.last_accessed, self.clock.now() - behind_s)

    @rule(name=IDS)
    def touch(self, name: str) -> None:
        self.expect_gone_or(name, self.sessions.touch(name))
        if self.live(name):
            self.accessed(name)

    @rule(name=IDS, by=st.integers(-3, 3))
    def update(self, name: str, by: int) -> None:
        def change(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
            draft.metadata["n"] += by
            return draft

        if self.expect_gone_or(name, self.sessions.update(name, change)) is not None:
            self.written(name).n += by

    @rule(name=IDS, tag=st.sampled_from("xy"), way=st.sampled_from(["tag", "untag"]))
    def tag(self, name: str, tag: str, way: str) -> None:
        act = self.sessions.tag(name, tag) if way == "tag" else self.sessions.untag(name, tag)
        if self.expect_gone_or(name, act) is not None:
            tags = self.written(name).tags
            (tags.add if way == "tag" else tags.discard)(tag)

    @rule(name=IDS)
    def take_over(self, name: str) -> None:
        self.term += 1
        if self.expect_gone_or(name, self.sessions.take_over(name, self.term)) is not None:
            self.model[name].version += 1

    @rule(name=IDS, by=st.integers(-3, 3))
    def fail_to_update(self, name: str, by: int) -> None:
        def change(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
            draft.metadata["n"] += by
            draft.tags = {"never"}
            raise ZeroDivisionError

        with pytest.raises((NotFound, ZeroDivisionError)):
            self.run(self.sessions.update(name, change))

    @rule(name=IDS, timeout=TIMEOUTS)
    def set_timeout(self, name: str, timeout: float | None) -> None:
        if self.expect_gone_or(name, self.sessions.set_timeout(name, timeout)) is not None:
            self.written(name).timeout = timeout

    @rule(name=IDS)
    def terminate(self, name: str) -> None:
        expected = self.model.get(name)
        if expected is not None and expected.ended and not expected.expired(self.clock.now()):
            assert self.run(self.sessions.terminate(name)).state == "terminated"
        elif self.expect_gone_or(name, self.sessions.terminate(name)) is not None:
            ended = self.written(name)
            ended.ended = True
            ended.timeout = 86_400.0 if ended.timeout is None else ended.timeout

    @rule(name=IDS)
    def delete(self, name: str) -> None:
        expected = self.model.pop(name, None)
        was_there = expected is not None and not expected.expired(self.clock.now())
        assert self.run(self.sessions.delete(name)) is was_there

    @rule(limit=st.integers(1, 3))
    def expire(self, limit: int) -> None:
        expired = {name for name, each in self.model.items() if each.expired(self.clock.now())}
        gone = {session.id for session in self.run(self.sessions.expire_due(limit))}
        assert gone <= expired
        assert min(1, len(expired)) <= len(gone) <= min(limit, len(expired))
        for name in gone:
            del self.model[name]

    @rule(seconds=st.sampled_from([0.25, 1.0, 4.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.kind != "memory")
    @rule()
    def reopen(self) -> None:
        self.leave()
        for name in [name for name, expected in self.model.items() if not expected.written]:
            del self.model[name], self.built[name]
        self.enter()

    @invariant()
    def the_same_are_there(self) -> None:
        if not hasattr(self, "sessions"):
            return

        async def found() -> tuple[list[Session[dict[str, Any]]], list[str], dict[str, int]]:
            by_state = (await self.sessions.metrics()).by_state
            return await self.sessions.list(), await self.sessions.ids(), by_state

        listed, ids, by_state = self.run(found())
        live = {name: each for name, each in self.model.items() if self.live(name)}
        now = self.clock.now()
        ended = sum(each.ended and not each.expired(now) for each in self.model.values())
        assert by_state == {"active": len(live), "terminated": ended}
        assert sorted(ids) == sorted(live)
        assert {each.id: seen(each) for each in listed} == {name: wanted(each) for name, each in live.items()}
        assert {each.id: each.last_accessed for each in listed} == {n: each.last_accessed for n, each in live.items()}
        assert {name: seen(each) for name, each in self.built.items()} == {
            name: wanted(each) for name, each in self.model.items()
        }


def seen(session: Session[dict[str, Any]]) -> tuple[object, ...]:
    """Return what is compared of a session."""
    return session.version, session.metadata["n"], set(session.tags), session.timeout, session.state


def wanted(expected: Expected) -> tuple[object, ...]:
    """Return the same of what it should be."""
    state = "terminated" if expected.ended else "active"
    return expected.version, expected.n, expected.tags, expected.timeout, state


class MemoryMachine(ManagerMachine):
    kind = "memory"


class SqliteMachine(ManagerMachine):
    kind = "sqlite"


class LeveldbMachine(ManagerMachine):
    kind = "leveldb"


class RocksdbMachine(ManagerMachine):
    kind = "rocksdb"


class TestMemory(MemoryMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """R-MGR-2, R-MGR-3, R-MGR-5, R-MGR-7."""

    settings = settings(max_examples=100, stateful_step_count=40)


class TestSqlite(SqliteMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """R-MGR-2, R-MGR-3, R-MGR-5, R-MGR-7."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


@WITH_PLYVEL
class TestLeveldb(LeveldbMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """R-MGR-2, R-MGR-3, R-MGR-5, R-MGR-7."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


class TestRocksdb(RocksdbMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """R-MGR-2, R-MGR-3, R-MGR-5, R-MGR-7."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


@pytest.mark.campaign
class TestMemoryForLong(MemoryMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    settings = settings(max_examples=5000, stateful_step_count=60, deadline=None)


@pytest.mark.campaign
class TestSqliteForLong(SqliteMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


@WITH_PLYVEL
@pytest.mark.campaign
class TestLeveldbForLong(LeveldbMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.mark.campaign
class TestRocksdbForLong(RocksdbMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
