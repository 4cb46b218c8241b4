"""Any sequence of acts on a manager does what the same acts do to a dict that knows the rules."""

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

from holdfast import Conflict, Draft, NotFound, SessionManager, open_store
from holdfast.testing import ManualClock

T = TypeVar("T")

IDS = st.sampled_from(["a", "b", "c"])
TIMEOUTS = st.sampled_from([None, 0.0, 1.0, 5.0, 20.0])


class Expected:
    """What the dict keeps of a session."""

    def __init__(self, now: float, n: int, timeout: float | None, max_age: float | None) -> None:
        self.created_at = self.last_accessed = now
        self.n = n
        self.timeout = timeout
        self.max_age = max_age
        self.ended = False

    def expired(self, now: float) -> bool:
        return (self.timeout is not None and now - self.last_accessed >= self.timeout) or (
            self.max_age is not None and now - self.created_at >= self.max_age
        )


class ManagerMachine(RuleBasedStateMachine):
    """Drives a manager and the dict side by side; the store is a parameter of the subclasses."""

    kind = ""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        url = "memory://" if self.kind == "memory" else f"sqlite:///{Path(self.folder.name) / 'sessions.db'}"
        self.url = url
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.model: dict[str, Expected] = {}
        self.enter()

    def enter(self) -> None:
        self.context = open_store(self.url)
        self.sessions: SessionManager[dict[str, Any]] = SessionManager(
            self.run(self.context.__aenter__()), clock=self.clock
        )

    def leave(self) -> None:
        self.run(self.context.__aexit__(None, None, None))

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

    def expect_gone_or(self, name: str, act: Awaitable[T]) -> T | None:
        if self.live(name) is None:
            with pytest.raises(NotFound):
                self.run(act)
            return None
        return self.run(act)

    @rule(name=IDS, n=st.integers(0, 5), timeout=TIMEOUTS, max_age=TIMEOUTS)
    def create(self, name: str, n: int, timeout: float | None, max_age: float | None) -> None:
        act = self.sessions.create({"n": n}, id=name, timeout=timeout, max_age=max_age)
        now = self.clock.now()
        if name in self.model and not self.model[name].expired(now):
            with pytest.raises(Conflict):
                self.run(act)
        else:
            self.run(act)
            self.model[name] = Expected(now, n, timeout, max_age)

    @rule(name=IDS)
    def get(self, name: str) -> None:
        session = self.expect_gone_or(name, self.sessions.get(name))
        if session is not None:
            assert session.metadata == {"n": self.accessed(name).n}

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
            self.accessed(name).n += by

    @rule(name=IDS, timeout=TIMEOUTS)
    def set_timeout(self, name: str, timeout: float | None) -> None:
        if self.expect_gone_or(name, self.sessions.set_timeout(name, timeout)) is not None:
            self.accessed(name).timeout = timeout

    @rule(name=IDS)
    def terminate(self, name: str) -> None:
        expected = self.model.get(name)
        if expected is not None and expected.ended and not expected.expired(self.clock.now()):
            assert self.run(self.sessions.terminate(name)).state == "terminated"
        elif self.expect_gone_or(name, self.sessions.terminate(name)) is not None:
            ended = self.accessed(name)
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
        assert len(gone) == min(limit, len(expired))
        for name in gone:
            del self.model[name]

    @rule(seconds=st.sampled_from([0.25, 1.0, 4.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.kind == "sqlite")
    @rule()
    def reopen(self) -> None:
        self.leave()
        self.enter()

    @invariant()
    def the_same_are_there(self) -> None:
        if not hasattr(self, "sessions"):
            return

        async def found() -> dict[str, tuple[int, float]]:
            return {
                session.id: (session.metadata["n"], session.last_accessed) for session in await self.sessions.list()
            }

        live = {name: (each.n, each.last_accessed) for name, each in self.model.items() if self.live(name)}
        assert self.run(found()) == live


class MemoryMachine(ManagerMachine):
    kind = "memory"


class SqliteMachine(ManagerMachine):
    kind = "sqlite"


class TestMemory(MemoryMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """R-MGR-2, R-MGR-3, R-MGR-5."""

    settings = settings(max_examples=40, stateful_step_count=30)


class TestSqlite(SqliteMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """R-MGR-2, R-MGR-3, R-MGR-5."""

    settings = settings(max_examples=12, stateful_step_count=25)
