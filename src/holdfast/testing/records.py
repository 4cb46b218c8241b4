"""Records and entries for tests of stores."""

from __future__ import annotations

from typing import Any

from ..codec import encode
from ..model.session import Record
from ..stores.contract import Entry, Kind

NOW = 1_800_000_000.0

_FIELDS: dict[str, Any] = {
    "version": 1,
    "term": 0,
    "created_at": NOW,
    "last_accessed": NOW,
    "timeout": 60.0,
    "max_age": None,
    "owner": None,
    "tags": frozenset(),
    "state": "active",
    "reason": None,
    "metadata": encode({"n": 0}),
}


def record_of(session_id: str, **fields: Any) -> Record:
    """Return a record of an active session, created at `NOW` with a timeout of 60 s, but for `fields`."""
    return Record(id=session_id, **(_FIELDS | fields))


def entry_of(stream: str, seq: int, kind: Kind = Kind.MESSAGE, **fields: Any) -> Entry:
    """Return an entry of term 1, written at `NOW`, whose data names its place, but for `fields`."""
    place: dict[str, Any] = {"stream": stream, "term": 1, "seq": seq, "kind": kind, "at": NOW, "data": b"%d" % seq}
    return Entry(**(place | fields))
