"""Ids are checked and hidden; clocks do not run backwards."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from holdfast.model import Misused, SystemClock, check_session_id, new_session_id, redacted
from holdfast.model.session import NEVER
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, record_of


@pytest.mark.parametrize("session_id", ["a", "x" * 255, "é" * 127, "😀", " ", "%"])
def test_any_utf_8_is_an_id(session_id: str) -> None:
    """R-MGR-1, R-HIB-3."""
    assert check_session_id(session_id) == session_id


@pytest.mark.parametrize("session_id", ["", "x" * 256, "é" * 128, "a\0", "\ud800", None, 1, b"a"])
def test_anything_else_is_not(session_id: Any) -> None:
    """R-MGR-1."""
    with pytest.raises(Misused):
        check_session_id(session_id)


def test_new_ids_are_32_hex_characters() -> None:
    """R-MGR-1."""
    assert re.fullmatch("[0-9a-f]{32}", new_session_id())
    assert len({new_session_id() for _ in range(1_000_000)}) == 1_000_000


def test_a_child_that_is_forked_makes_other_ids() -> None:
    """R-MGR-1: random bytes are fetched for many ids at once, and none of them is in two processes."""
    new_session_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as told:
            told.write("".join(new_session_id() for _ in range(600)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    os.waitpid(child, 0)
    theirs = {text[at : at + 32] for at in range(0, len(text), 32)}
    assert len(theirs) == 600
    assert theirs.isdisjoint(new_session_id() for _ in range(600))


def test_a_shown_id_tells_four_characters() -> None:
    """R-SEC-2."""
    assert redacted("0123456789") == "0123…"


def test_the_system_clock_never_runs_backwards() -> None:
    """R-MGR-3."""
    clock = SystemClock()
    times = [clock.now() for _ in range(1000)]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000


def test_a_manual_clock_moves_when_told_and_not_backwards() -> None:
    clock = ManualClock(5.0)
    clock.advance(1.5)
    assert clock.now() == clock.now() == 6.5
    with pytest.raises(Misused):
        clock.advance(-1.0)


def test_a_deadline_is_the_first_of_two_ends() -> None:
    """R-MGR-3."""
    assert record_of("s", timeout=10.0, max_age=None).deadline == NOW + 10
    assert record_of("s", timeout=10.0, max_age=3.0).deadline == NOW + 3
    assert record_of("s", timeout=None, max_age=None).deadline == NEVER
