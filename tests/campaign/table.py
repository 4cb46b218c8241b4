"""The campaign's table, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .plan import KINDS
from .run import Outcome

COUNTS: Final = (
    "sessions", "calls", "carried", "failed", "streams", "events", "unsent", "unkept", "violations",
)  # fmt: skip
COLUMNS: Final = ("how the server ended", "runs", "ends", *COUNTS, "s")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each kind of runs and one for their sum."""
    kinds = [(kind, [outcome for outcome in outcomes if outcome.kind == kind]) for kind in KINDS]
    rows = [COLUMNS, *(_row(kind, of_kind) for kind, of_kind in kinds if of_kind), _row("all", outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:-1], "-" * len(lines[0]), lines[-1]])


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    ends = sum(len(outcome.ends) for outcome in outcomes)
    counts = [sum(_count(outcome, column) for outcome in outcomes) for column in COUNTS]
    seconds = sum(outcome.seconds for outcome in outcomes)
    return (name, str(len(outcomes)), str(ends), *map(str, counts), f"{seconds:.0f}")


def _count(outcome: Outcome, column: str) -> int:
    value = getattr(outcome, column)
    return value if isinstance(value, int) else len(value)
