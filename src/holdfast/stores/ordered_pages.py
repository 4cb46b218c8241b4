"""Finds records of an ordered key-value store page by page: scans, lists of ids, what is due, and counts.

Runs on the reader's thread. A record that cannot be read, damaged, of a newer format or sealed under a missing key,
concerns its own session only: it is left out, and told.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt, KeyMissing, Misused
from ..model.ids import redacted
from ..model.session import Record
from . import ordered_keys as keys
from .contract import IdPage, Page, Query
from .left_out import LeftOut
from .ordered_engine import Engine

_WINDOW: Final = 5000  # sessions that one page of a scan looks at
_READ_AT_ONCE: Final = 200
_COUNTED_A_PAGE: Final = 5000
_CRC_DIGITS: Final = 8

_replaced: Final = msgspec.structs.replace


class Late(NamedTuple):
    """A session that has expired unless an access was told and not written."""

    id: str
    timeout: float
    expires_at: float


class Counted(NamedTuple):
    """A page of counts: the key behind it, or empty at the end, and how many there are of each state."""

    next: bytes
    active: int = 0
    terminated: int = 0


class Pages:
    """Reads pages of one store. Each unreadable session is logged once, of the first 1,000."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._left_out = LeftOut("session %s is left out of scans and sweeps: %s")

    def scan(self, engine: Engine, query: Query, cursor: str | None, limit: int) -> Page:
        """Return up to `limit` records in the order of ids; the page ends where it is full, or with its window."""
        wanted_ids = keys.id_key(query.prefix or "")
        if wanted_ids is None:
            return Page([], [], None)
        prefix = keys.SESSION + wanted_ids
        start, stop = max(prefix, _start(cursor)), keys.after(prefix)
        page = Page([], [], None)
        left = max(_WINDOW, limit)
        while left > 0:
            wanted = min(max(limit - len(page.records), _READ_AT_ONCE), left)
            rows = engine.iterate(start, stop, wanted)
            for key, value in rows:
                id_bytes = key[1:]
                record = self._readable(id_bytes, value, query.state)
                if record is not None and query.matches(record):
                    page.records.append(record)
                    page.cursors.append(_cursor(id_bytes))
                    if len(page.records) == limit:
                        return Page(page.records, page.cursors, page.cursors[-1])
            if len(rows) < wanted:
                return page
            left -= wanted
            start = rows[-1][0] + b"\0"
        return Page(page.records, page.cursors, _cursor(start[1:-1]))

    def ids(self, engine: Engine, now: float, cursor: str | None, limit: int) -> tuple[IdPage, list[Late]]:
        """Return the ids among the next `limit` sessions, and those that unwritten accesses may keep.

        No record is read, so damage hides none: what cannot be read at all is listed as well.
        """
        rows = engine.iterate(_start(cursor), keys.after(keys.SESSION), limit)
        ids: list[str] = []
        late: list[Late] = []
        for key, value in rows:
            id_bytes = key[1:]
            session_id = id_bytes.decode(errors="replace")
            try:
                head = keys.head_of(value, id_bytes)
            except Corrupt:
                ids.append(session_id)
                continue
            if head.state_name == "active":
                if head.deadline > now:
                    ids.append(session_id)
                else:
                    late.append(Late(session_id, head.timeout, head.expires_at))
        end = _cursor(rows[-1][0][1:]) if len(rows) == limit else None
        return IdPage(ids, end), late

    def due(self, engine: Engine, now: float, after: bytes, limit: int) -> tuple[list[Record], bytes, list[bytes]]:
        """Return what is readable of the next `limit` that are due behind the key `after`.

        Beside it, the key at which they end, empty at the end of all, and keys that lead to nothing any more.
        """
        rows = engine.iterate(after + b"\0" if after else keys.DUE, _behind(now), limit)
        found: list[Record] = []
        stale: list[bytes] = []
        for key, _ in rows:
            id_bytes = key[9:]
            value = engine.get(keys.SESSION + id_bytes)
            record = None if value is None else self._readable(id_bytes, value)
            if record is not None and keys.due_key(record.deadline, id_bytes) == key:
                found.append(record)
            elif value is None or record is not None:
                stale.append(key)
        return found, rows[-1][0] if len(rows) == limit else b"", stale

    def _readable(self, id_bytes: bytes, value: bytes, state: str | None = None) -> Record | None:
        """Return the record, or None when it cannot be read or surely is not of the state."""
        try:
            head = keys.head_of(value, id_bytes)
            if state is not None and head.state_name != state:
                return None
            return record_of(id_bytes.decode(errors="replace"), head, value, self._codec)
        except (Corrupt, KeyMissing, Misused) as error:
            self._left_out.tell(id_bytes, error)
            return None


def get_record(engine: Engine, id_bytes: bytes, codec: Codec) -> Record | None:
    """Return the record stored under the id, with the last access that is written, or None.

    Raises:
        Corrupt: It is damaged, or another's.
        KeyMissing: It is sealed under a key that is not in the key ring.
        Misused: A newer version of Holdfast wrote it.
    """
    value = engine.get(keys.SESSION + id_bytes)
    return None if value is None else record_of(id_bytes.decode(), keys.head_of(value, id_bytes), value, codec)


def record_of(session_id: str, head: keys.Head, value: bytes, codec: Codec) -> Record:
    """Return the record in a session's value, with the last access that its head knows.

    Raises:
        Corrupt: The record is damaged, or is not the one that its head speaks of.
        KeyMissing: It is sealed under a key that is not in the key ring.
        Misused: A newer version of Holdfast wrote it.
    """
    record = codec.open(keys.sealed_of(value), session_id)
    if (record.version, record.term) != (head.version, head.term):
        raise Corrupt(f"the head of session {redacted(session_id)} does not fit its record; restore it or delete it")
    last_accessed = head.last_accessed
    return record if last_accessed == record.last_accessed else _replaced(record, last_accessed=last_accessed)


def count_states(engine: Engine, now: float, start: bytes) -> Counted:
    """Count a page of sessions from the key `start` on, without those that are due or cannot be read."""
    rows = engine.iterate(start or keys.SESSION, keys.after(keys.SESSION), _COUNTED_A_PAGE)
    counts = [0, 0]
    for key, value in rows:
        try:
            head = keys.head_of(value, key[1:])
        except Corrupt:
            continue
        counts[head.state] += head.deadline > now
    return Counted(rows[-1][0] + b"\0" if len(rows) == _COUNTED_A_PAGE else b"", *counts)


def _behind(now: float) -> bytes:
    """Return the key behind all that are due at `now`; what is never due has none."""
    return keys.after(keys.due_key(now, b""))


def _cursor(id_bytes: bytes) -> str:
    """Return the cursor behind a session: its id, marked as one of ours. A damaged key is one, too."""
    return f"{zlib.crc32(id_bytes):0{_CRC_DIGITS}x}.{id_bytes.decode(errors='surrogateescape')}"


def _start(cursor: str | None) -> bytes:
    """Return the key at which a scan continues."""
    if cursor is None:
        return keys.SESSION
    _, dot, session_id = cursor.partition(".")
    try:
        id_bytes = session_id.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        dot, id_bytes = "", b""
    if not dot or _cursor(id_bytes) != cursor:
        raise Misused("this is not a cursor of this store; pass one that its scan returned")
    return keys.SESSION + id_bytes + b"\0"
