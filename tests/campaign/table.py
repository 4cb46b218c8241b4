"""The campaign's table, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .run import Outcome

COLUMNS: Final = ("seed", "ends", "sessions", "calls", "streams", "resumed", "events", "interrupted", "violations", "s")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each run and one for their sum."""
    rows = [COLUMNS, *(_row(str(outcome.seed), [outcome]) for outcome in outcomes), _row("all", outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:-1], "-" * len(lines[0]), lines[-1]])


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    counts = (
        sum(len(outcome.ends) for outcome in outcomes),
        sum(outcome.sessions for outcome in outcomes),
        sum(outcome.calls for outcome in outcomes),
        sum(outcome.streams for outcome in outcomes),
        sum(outcome.resumed for outcome in outcomes),
        sum(outcome.events for outcome in outcomes),
        sum(outcome.interrupted for outcome in outcomes),
        sum(len(outcome.violations) for outcome in outcomes),
    )
    return (name, *map(str, counts), f"{sum(outcome.seconds for outcome in outcomes):.1f}")
