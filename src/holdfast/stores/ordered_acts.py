"""What is written of records to an ordered key-value store; runs on the writer's thread."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt, Moved, VersionConflict
from ..model.ids import redacted
from ..model.session import Record
from . import ordered_keys as keys
from .contract import ChangeKind
from .ordered_engine import Engine, View
from .ordered_keys import Head
from .ordered_log import Log

_TAKEN_AT_ONCE: Final = 2**32  # numbers; one write for each so many, and for each time the store is opened


class Numbers:
    """Gives out numbers that are never given out again, in growing order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._next = self._end = 0

    def take(self) -> int:
        """Return the next number, 1 or more. Numbers that were not used when the store was closed are left out."""
        if self._next >= self._end:
            # Before it is used and on its own: what waits in a batch could fail, and power could.
            first = max(keys.number_in(self._engine.get(keys.NUMBERS)), 1)
            end = first + _TAKEN_AT_ONCE
            self._engine.write({keys.NUMBERS: keys.number_value(end)}, sync=True)
            self._next, self._end = first, end
        self._next += 1
        return self._next - 1

    def pass_over(self, last: int) -> None:
        """Never give out `last`, nor any number before it."""
        if last >= self._next:
            end = last + 1
            self._engine.write({keys.NUMBERS: keys.number_value(max(end, self._end))}, sync=True)
            self._next, self._end = end, max(end, self._end)


def found(view: View, id_bytes: bytes) -> tuple[Head, bytes] | None:
    """Return the head of a session and its sealed record.

    Raises:
        Corrupt: The head cannot be read.
    """
    value = view.get(keys.SESSION + id_bytes)
    return None if value is None else (keys.head_of(value, id_bytes), keys.sealed_of(value))


def next_term(view: View) -> int:
    """Return the next term, and have it written."""
    term = keys.number_in(view.get(keys.TERM)) + 1
    view.put(keys.TERM, keys.number_value(term))
    return term


class Put:
    """Writes one record, at the version after the one that must be stored."""

    __slots__ = ("_at", "_codec", "_id_bytes", "_log", "_numbers", "_record", "_sealed")

    def __init__(self, record: Record, numbers: Numbers, codec: Codec, log: Log, at: float) -> None:
        self._record = record
        self._log = log
        self._at = at
        self._id_bytes = record.id.encode()
        self._codec = codec
        self._sealed = codec.seal(record)
        self._numbers = numbers

    @property
    def size_bytes(self) -> int:
        """How many bytes are written, about."""
        return len(self._sealed)

    def __call__(self, view: View) -> None:
        record = self._record
        stored = found(view, self._id_bytes)
        if stored is None:
            if record.version != 1:
                raise VersionConflict(
                    f"session {redacted(record.id)} is gone; version {record.version - 1} was expected"
                )
            changed = self._log.note(view, ChangeKind.CREATED, self._at, 0, self._id_bytes, self._sealed)
            head = Head.of(record, self._numbers.take(), -inf, self._at, changed)
            write(view, self._id_bytes, None, head, self._sealed, record)
            return
        old = stored[0]
        if old.term > record.term:
            raise Moved(f"session {redacted(record.id)} has term {old.term}; the write came from {record.term}")
        if old.version != record.version - 1:
            raise VersionConflict(
                f"session {redacted(record.id)} has version {old.version}; version {record.version - 1} was expected"
            )
        if created_at(stored, record.id, self._codec) != record.created_at:
            raise VersionConflict(f"session {redacted(record.id)} is another one, created later under the same id")
        at = max(self._at, old.written_at)
        changed = self._log.written(view, at, self._id_bytes, stored, record, self._sealed)
        head = Head.of(record, old.number, old.last_accessed, at, changed)
        if head.last_accessed != record.last_accessed:
            record = msgspec.structs.replace(record, last_accessed=head.last_accessed)
        write(view, self._id_bytes, old, head, self._sealed, record)


def write(
    view: View, id_bytes: bytes, old: Head | None, head: Head, sealed: bytes, record: Record | None = None
) -> None:
    """Write head and record of a session, and where it is found when it is due."""
    view.put_session(id_bytes, head.packed(id_bytes) + sealed, record)
    deadline = head.deadline
    if old is not None:
        before = old.deadline
        if before == deadline:
            return
        if before != inf:
            view.put(keys.due_key(before, id_bytes), None)
    if deadline != inf:
        view.put(keys.due_key(deadline, id_bytes), b"")


def touch(view: View, accesses: Iterable[tuple[str, float]]) -> None:
    """Write the accesses of many sessions; what is not there, or cannot be read, is passed over."""
    for session_id, at in accesses:
        id_bytes = keys.id_key(session_id)
        if id_bytes is None:
            continue
        try:
            stored = found(view, id_bytes)
        except Corrupt:
            continue  # whoever reads it is told
        if stored is not None and stored[0].last_accessed < at:
            write(view, id_bytes, stored[0], stored[0]._replace(last_accessed=at), stored[1])


def created_at(stored: tuple[Head, bytes], session_id: str, codec: Codec) -> float:
    """Return when the stored session was created.

    Raises:
        Corrupt, KeyMissing, Misused: Only its record says so, and cannot be read.
    """
    head, sealed = stored
    return codec.open(sealed, session_id).created_at if head.created_at is None else head.created_at


def delete(
    view: View, id_bytes: bytes, codec: Codec, log: Log, at: float, *, expect: Record | None, due_at: float | None
) -> bool:
    """Delete a session if it is the version `expect` of it (None: any) and due at `due_at` (None: whenever).

    What is damaged can be deleted when nothing is asked of it; the feed does not tell of it. Its journal is gone at
    once, and cleared away later.
    """
    try:
        stored = found(view, id_bytes)
    except Corrupt:
        if expect is not None or due_at is not None:
            raise
        view.put_session(id_bytes, None)
        return True
    if stored is None:
        return False
    head, sealed = stored
    if due_at is not None and head.deadline > due_at:
        return False
    if expect is not None and (
        head.version != expect.version or created_at(stored, expect.id, codec) != expect.created_at
    ):
        return False
    kind = ChangeKind.DELETED if due_at is None else ChangeKind.EXPIRED
    at = max(at, head.written_at)
    log.note(view, kind, at, head.changed, id_bytes, sealed, last_accessed=head.last_accessed)
    view.put_session(id_bytes, None)
    if head.deadline != inf:
        view.put(keys.due_key(head.deadline, id_bytes), None)
    sizes_key = keys.number_key(keys.SIZES, head.number)
    sizes = view.get(sizes_key)
    if sizes is not None:
        view.put(sizes_key, None)
        view.put(keys.number_key(keys.CLEARED, head.number), b"")
        total = keys.number_in(view.get(keys.TOTAL)) - keys.sizes_in(sizes)[1]
        view.put(keys.TOTAL, keys.number_value(max(total, 0)))
    return True


def forget_due(view: View, due_keys: Iterable[bytes]) -> None:
    """Take away keys of what was due that lead to nothing any more."""
    for key in due_keys:
        stored = view.get(keys.SESSION + key[9:])
        try:
            leads = stored is not None and keys.due_key(keys.head_of(stored, key[9:]).deadline, key[9:]) == key
        except Corrupt:
            leads = True  # nobody knows
        if not leads:
            view.put(key, None)
