"""The claims of the demo are judged from what was seen, and each can be false."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.cli.demo.rules import Heard, Notes, Observed, Sent, claims
from holdfast.cli.demo.timeline import Timeline
from holdfast.testing import ManualClock

ID = "ab12" + "0" * 28
CALL = Sent("tools/call", ID)
GOOD = Observed(
    session=ID,
    sent=(Sent("server/discover", None), Sent("initialize", None), CALL, Sent("GET", ID), CALL),
    sent_before=3,
    servers=(10, 20),
    kill_code=-9,
    heard=Heard("error", "interrupted", -32050, 2.0),
    before=Notes(("a",), 11),
    after=Notes(("a",), 21),
    first_worker_gone=True,
    added="b",
    last=Notes(("a", "b"), 21),
    stop_code=0,
    nothing_left=True,
)
DIED, SESSION, HEARD, KEPT, GOES_ON, CLEAN = range(6)


def false_ones(seen: Observed) -> list[int]:
    return [number for number, claim in enumerate(claims(seen)) if not claim.holds]


def test_every_claim_holds_when_all_was_seen() -> None:
    assert false_ones(GOOD) == []


def test_the_answer_of_the_call_in_flight_is_as_good_as_an_error() -> None:
    assert false_ones(replace(GOOD, heard=Heard("answer", "thought for 5 s"))) == []


def test_nothing_is_claimed_that_was_not_seen() -> None:
    assert false_ones(Observed()) == [DIED, SESSION, HEARD, KEPT, GOES_ON, CLEAN]


@pytest.mark.parametrize(
    ("seen", "false"),
    [
        ({"kill_code": 0}, [DIED]),
        ({"servers": (10, 10)}, [DIED]),
        ({"first_worker_gone": False}, [DIED]),
        ({"sent": (*GOOD.sent, Sent("initialize", None))}, [SESSION]),
        ({"sent": (*GOOD.sent, Sent("tools/call", "cd34"))}, [SESSION]),
        ({"sent": GOOD.sent[:3]}, [SESSION]),
        ({"session": "cd34"}, [SESSION]),
        ({"after": None, "last": None}, [SESSION, KEPT, GOES_ON]),
        ({"heard": None}, [HEARD]),
        ({"heard": Heard("error", "connection closed", -32000)}, [HEARD]),
        ({"before": Notes(("a", "lost"), 11)}, [KEPT]),
        ({"before": Notes((), 11), "after": Notes((), 21), "last": Notes(("b",), 21)}, [KEPT]),
        ({"after": Notes(("a",), 11), "last": Notes(("a", "b"), 11)}, [GOES_ON]),
        ({"last": Notes(("a",), 21)}, [GOES_ON]),
        ({"last": Notes(("a", "b"), 31)}, [GOES_ON]),
        ({"stop_code": 1}, [CLEAN]),
        ({"nothing_left": False}, [CLEAN]),
    ],
)
def test_one_false_observation_makes_its_claim_false(seen: dict[str, Any], false: list[int]) -> None:
    assert false_ones(replace(GOOD, **seen)) == false


def test_no_claim_shows_a_whole_session_id() -> None:
    """R-SEC-2."""
    assert all(ID not in claim.evidence for claim in claims(GOOD))
    assert "ab12…" in claims(GOOD)[SESSION].evidence


@pytest.mark.parametrize("colour", [True, False])
def test_the_summary_names_what_is_false(colour: bool) -> None:
    lines: list[str] = []
    timeline = Timeline(lines.append, ManualClock(), colour=colour)
    timeline.judge(claims(replace(GOOD, stop_code=1)))
    [false] = [line for line in lines if "FALSE" in line]
    assert "asked to stop" in false
    assert ("\033[" in false) is colour
    assert lines[-1] == "5 of 6 claims were seen to be true."
