"""What is written to a SQLite store, and how acts that wait together become few statements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..codec import PLAIN, Codec
from ..model.session import Record
from .contract import ChangeKind, Entry
from .lane import Act
from .sealed_entries import entry_context, sealed_content

ROWS_MAX: Final = 1024


class Write(Act):
    """An act of the writer. Acts of one class are written by one statement with a row (or more) for each."""

    __slots__ = ("durable", "rows", "session_id")

    def __init__(self, session_id: str, rows: list[tuple[Any, ...]], *, durable: bool, size_bytes: int = 0) -> None:
        super().__init__(size_bytes)
        self.session_id = session_id
        self.rows = rows
        self.durable = durable


class Put(Write):
    """One record, at the version after the one that must be stored, written at `at`."""

    __slots__ = ("record",)

    def __init__(self, record: Record, codec: Codec = PLAIN, *, durable: bool, at: float = 0.0) -> None:
        body = codec.seal(record)
        timeout = math.inf if record.timeout is None else record.timeout
        row = (
            record.id,
            record.version,
            record.term,
            record.created_at,
            record.last_accessed,
            timeout,
            record.expires_at,
            record.owner,
            record.state,
            body,
            at,
        )
        super().__init__(record.id, [row], durable=durable, size_bytes=len(body))
        self.record = record


class Delete(Write):
    """Deletes a record at `at`; its result is whether this did it."""

    __slots__ = ()

    def __init__(
        self, session_id: str, *, expect: Record | None, due_at: float | None, durable: bool, at: float = 0.0
    ) -> None:
        expected = (None, None) if expect is None else (expect.version, expect.created_at)
        kind = ChangeKind.DELETED if due_at is None else ChangeKind.EXPIRED
        super().__init__(session_id, [(session_id, *expected, due_at, int(kind), at)], durable=durable)


class Touch(Write):
    """Writes the accesses of many sessions."""

    __slots__ = ()

    def __init__(self, accesses: dict[str, float]) -> None:
        super().__init__("", list(accesses.items()), durable=False)


class Append(Write):
    """Entries of one session's journal, all or none."""

    __slots__ = ("entries", "term")

    def __init__(self, session_id: str, term: int, entries: Sequence[Entry]) -> None:
        rows = [
            (session_id, e.stream, term, e.term, e.seq, int(e.kind), e.at, e.data, e.request, e.origin, 0)
            for e in entries
        ]
        super().__init__(session_id, rows, durable=False, size_bytes=sum(len(e.data) for e in entries))
        self.term = term
        self.entries = entries

    def seal(self, codec: Codec) -> None:
        """Seal the entries, on the writer's thread: one of them may be long."""
        self.rows = [
            (*row[:7], sealed_content(codec, entry_context(self.session_id, entry), entry), b"", row[9], 1)
            for row, entry in zip(self.rows, self.entries, strict=True)
        ]


class Run(Write):
    """Anything else, by a function of the connection."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[Any], Any], *, durable: bool) -> None:
        super().__init__("", [], durable=durable)
        self.run = run


def grouped(acts: Sequence[Write]) -> list[list[Write]]:
    """Put acts that one statement can write together, keeping the order of what concerns the same session.

    Invariant: an act never comes before an earlier one of its session; a group holds at most one `Put` or `Delete`
    of a session, and at most `ROWS_MAX` rows unless a single act has more.
    """
    groups: list[list[Write]] = []
    rows: list[int] = []
    newest: dict[type[Write], int] = {}
    last: dict[str, int] = {}
    barrier = 0
    for act in acts:
        kind = type(act)
        at = newest.get(kind, -1)
        earliest = max(barrier, last.get(act.session_id, -1) + (kind is not Append))
        if kind in (Run, Touch) or at < earliest or rows[at] + len(act.rows) > ROWS_MAX:
            at = newest[kind] = len(groups)
            groups.append([])
            rows.append(0)
        groups[at].append(act)
        rows[at] += len(act.rows)
        last[act.session_id] = at
        if kind in (Run, Touch):
            barrier = at + 1
    return groups
