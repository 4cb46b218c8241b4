"""The whole edge under requests that nobody would send: never a 500, a hang, a task left, or another session's data."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from .steps import HEADERS, IDS, METHODS, OWNERS, PARAMS, PATHS, SESSIONS, SHAPES, USERS, VERBS, Step, conversation_from
from .world import world

CORPUS = Path(__file__).parent / "corpus" / "app"

messages = st.builds(
    lambda shape, id_, method, params: (shape % {"id": id_, "method": method, "params": params}).encode(),
    st.sampled_from(SHAPES),
    st.sampled_from(IDS),
    st.sampled_from(METHODS),
    st.sampled_from(PARAMS),
)
tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20).map(str.encode)
headers = st.sampled_from(HEADERS) | st.tuples(tokens, st.binary(max_size=40))
calls = st.builds(
    lambda session, method, waits: Step(
        session=session,
        body=(SHAPES[0] % {"id": "1", "method": method, "params": "{}"}).encode(),
        waits=waits,
        user=OWNERS[session],
    ),
    st.integers(0, SESSIONS - 1),
    st.sampled_from(METHODS),
    st.booleans(),
)
odd_steps = st.builds(
    Step,
    verb=st.sampled_from(VERBS),
    path=st.sampled_from(PATHS),
    session=st.none() | st.integers(0, SESSIONS),
    usual=st.booleans(),
    headers=st.lists(headers, max_size=3).map(tuple),
    body=messages | st.binary(max_size=100),
    cuts=st.lists(st.integers(0, 200), max_size=3).map(tuple),
    leave_after=st.none() | st.integers(0, 3),
    waits=st.booleans(),
    resumes=st.booleans(),
    user=st.sampled_from(USERS),
)


async def play(steps: list[Step]) -> list[int]:
    async with world() as made:
        return await made.play(steps)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(calls | odd_steps, max_size=10))
def test_no_conversation_finds_a_fault(steps: list[Step]) -> None:
    """R-SEC-3, R-MCP-5."""
    for status in set(asyncio.run(play(steps))):
        event(f"status {status}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=120))
def test_no_bytes_find_a_fault(data: bytes) -> None:
    asyncio.run(play(conversation_from(data)))


@pytest.mark.parametrize("found", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(found: Path) -> None:
    asyncio.run(play(conversation_from(found.read_bytes())))


def call(session: int, shape: str, method: str, user: bytes | None = None) -> Step:
    body = (shape % {"id": "1", "method": method, "params": "{}"}).encode()
    return Step(session=session, body=body, user=user or OWNERS[session])


async def test_conversations_reach_the_sessions() -> None:
    """A fuzzer whose every request is refused at the door would find nothing."""
    steps = [
        call(session, SHAPES[0], method)
        for session in range(SESSIONS)
        for method in ("tools/call", "log", "ask", "odd")
    ]
    steps += [call(SESSIONS - 1, shape, "tools/call") for shape in SHAPES if shape.startswith("[")]
    async with world() as made:
        assert await made.play(steps) == [200] * len(steps)
        assert all(b"secret-" in heard.body for heard, _, _ in made.asked)


async def test_the_judge_sees_what_it_is_there_for() -> None:
    async with world() as made:
        await made.play([call(0, SHAPES[0], "tools/call"), call(0, SHAPES[0], "tools/call", user=b"bob")])
        (own, _, _), (stranger, _, _) = made.asked[-2:]
        made.judge(own, made.sessions[0])
        with pytest.raises(AssertionError, match="another session"):
            made.judge(own, made.sessions[1])
        stranger.status = 200
        with pytest.raises(AssertionError, match="somebody else"):
            made.judge(stranger, made.sessions[0])
        own.status = 500
        with pytest.raises(AssertionError, match="status 500"):
            made.judge(own, made.sessions[0])
