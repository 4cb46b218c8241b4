"""The claims of `demo upgrade` are judged from what was seen, and each can be false."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.cli.demo.rules import Counted, Heard, Sent
from holdfast.cli.demo.upgrade_rules import THINK_S, Knocked, LongCall, Seen, upgrade_claims

ID = "ab12" + "0" * 28
CALL = Sent("tools/call", ID)
STEPS = tuple(range(THINK_S))
ANSWER = Heard("answer", "thought for 10 s", worker=11)
ANSWERED = LongCall(STEPS, 3, ANSWER)
GOOD = Seen(
    session=ID,
    sent=(Sent("initialize", None), CALL, CALL, Sent("GET", ID), CALL, CALL, CALL),
    sent_before=3,
    servers=(10, 20, 30),
    kill_code=-9,
    replaced_code=0,
    calls=(ANSWERED, ANSWERED),
    counts=(Counted(1, 11), Counted(2, 11), Counted(3, 11)),
    knocked=Knocked(20, 0),
    stop_code=0,
    nothing_left=True,
)
ENDED, ANSWERS, PROGRESS, PROCESS, SESSION, REFUSED, CLEAN = range(7)


def false_ones(seen: Seen) -> list[int]:
    return [number for number, claim in enumerate(upgrade_claims(seen)) if not claim.holds]


def test_every_claim_holds_when_all_was_seen() -> None:
    assert false_ones(GOOD) == []


def test_nothing_is_claimed_that_was_not_seen() -> None:
    assert false_ones(Seen()) == [ENDED, ANSWERS, PROGRESS, PROCESS, SESSION, REFUSED, CLEAN]


@pytest.mark.parametrize(
    ("seen", "false"),
    [
        ({"kill_code": 0}, [ENDED]),
        ({"replaced_code": 1}, [ENDED]),
        ({"replaced_code": None}, [ENDED, REFUSED]),
        ({"servers": (10, 20)}, [ENDED]),
        ({"servers": (10, 20, 20)}, [ENDED]),
        ({"calls": (ANSWERED, ANSWERED._replace(told_before=0))}, [ENDED]),
        ({"calls": (ANSWERED._replace(told_before=THINK_S), ANSWERED)}, [ENDED]),
        ({"calls": (ANSWERED,)}, [ENDED, ANSWERS, PROGRESS]),
        ({"calls": (ANSWERED, LongCall(STEPS, 3, Heard("error", "lost", -32050, worker=11)))}, [ANSWERS]),
        ({"calls": (LongCall(STEPS, 3), ANSWERED)}, [ANSWERS, PROCESS]),
        ({"sent": (*GOOD.sent, CALL)}, [ANSWERS]),
        ({"calls": (ANSWERED, ANSWERED._replace(progress=STEPS[:-1]))}, [PROGRESS]),
        ({"calls": (ANSWERED._replace(progress=(0, *STEPS)), ANSWERED)}, [PROGRESS]),
        ({"calls": (ANSWERED, ANSWERED._replace(heard=ANSWER._replace(worker=12)))}, [PROCESS]),
        ({"counts": (Counted(1, 11), Counted(1, 12), Counted(2, 12))}, [PROCESS]),
        ({"counts": (Counted(1, 11), Counted(2, 11), Counted(4, 11))}, [PROCESS]),
        ({"session": "cd34"}, [SESSION]),
        ({"sent": (*GOOD.sent, Sent("initialize", None))}, [SESSION]),
        ({"sent": (*GOOD.sent, Sent("GET", "cd34"))}, [SESSION]),
        ({"sent_before": len(GOOD.sent)}, [SESSION]),
        ({"knocked": Knocked(0, 0)}, [REFUSED]),
        ({"knocked": Knocked(20, 1)}, [REFUSED]),
        ({"stop_code": 1}, [CLEAN]),
        ({"nothing_left": False}, [CLEAN]),
    ],
)
def test_one_false_observation_makes_its_claim_false(seen: dict[str, Any], false: list[int]) -> None:
    assert false_ones(replace(GOOD, **seen)) == false


def test_no_claim_shows_a_whole_session_id() -> None:
    """R-SEC-2."""
    assert all(ID not in claim.evidence for claim in upgrade_claims(GOOD))
    assert "ab12…" in upgrade_claims(GOOD)[SESSION].evidence
