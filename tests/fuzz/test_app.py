"""The whole edge under requests that nobody would send: never a 500, a hang, a task left, or another session's data."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from .steps import HEADERS, IDS, METHODS, PARAMS, PATHS, SESSIONS, SHAPES, VERBS, Step, conversation_from
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
    Step,
    session=st.integers(0, SESSIONS - 1),
    body=st.builds(
        lambda method: (SHAPES[0] % {"id": "1", "method": method, "params": "{}"}).encode(), st.sampled_from(METHODS)
    ),
    waits=st.booleans(),
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
)


async def play(steps: list[Step]) -> list[int]:
    async with world() as made:
        return await made.play(steps)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(calls | odd_steps, max_size=10))
def test_no_conversation_finds_a_fault(steps: list[Step]) -> None:
    """R-SEC-3, R-MCP-5."""
    for status in set(asyncio.run(play(steps))):
        event(f"status {status}")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=120))
def test_no_bytes_find_a_fault(data: bytes) -> None:
    asyncio.run(play(conversation_from(data)))


@pytest.mark.parametrize("found", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(found: Path) -> None:
    asyncio.run(play(conversation_from(found.read_bytes())))


def test_conversations_reach_the_sessions() -> None:
    """A fuzzer whose every request is refused at the door would find nothing."""
    good = [Step(session=number, body=SHAPES[0].encode() % {b"id": b"1", b"method": method, b"params": b"{}"})
            for number in range(SESSIONS) for method in (b"tools/call", b"log", b"ask")]  # fmt: skip
    assert Counter(asyncio.run(play(good))) == {200: len(good)}
    secret = asyncio.run(_said(good[:1]))
    assert b"secret-" in secret


async def _said(steps: list[Step]) -> bytes:
    async with world() as made:
        await made.play(steps)
        return made._asked[-1][0].body


async def test_the_judge_sees_another_sessions_data() -> None:
    async with world() as made:
        await made.play([Step(session=0, body=SHAPES[1].encode() % {b"id": b"1", b"method": b"a"})])
        heard, _, _ = made._asked[-1]
        made._judge(heard, made.sessions[0])
        with pytest.raises(AssertionError, match="another session"):
            made._judge(heard, made.sessions[1])
