"""The log of an ordered key-value store's feed: its entries as bytes, and how they are written (`ordered_keys`)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from ..model.errors import Corrupt
from ..model.session import Record
from . import ordered_keys as keys
from .contract import ChangeKind
from .feed_parts import Part
from .ordered_engine import Engine, View
from .ordered_keys import Head

_CRC: Final = struct.Struct(">I")
_NOTE: Final = struct.Struct(">BdQdII")
_STANDING: Final = struct.Struct(">16sdQQ")
_PART: Final = struct.Struct(">ddQ")
_NONE: Final = float("-inf")


class Note(NamedTuple):
    """A change: which one came before it, what it wrote or was last, and what was before it, empty if that is kept."""

    kind: int
    at: float
    previous: int
    last_accessed: float | None
    id_bytes: bytes
    sealed: bytes
    before: bytes = b""


def with_contents(key: bytes, value: bytes, sealed: bytes, before: bytes) -> bytes:
    """Return the change stored as `value` with other contents of the same meaning."""
    note = note_of(key, value)
    last_accessed = _NONE if note.last_accessed is None else note.last_accessed
    start = _NOTE.pack(note.kind, note.at, note.previous, last_accessed, len(note.id_bytes), len(sealed))
    return _checked(key, start, note.id_bytes, sealed, before)


def _checked(key: bytes, *parts: bytes) -> bytes:
    crc = zlib.crc32(key)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((_CRC.pack(crc), *parts))


def note_of(key: bytes, value: bytes) -> Note:
    """Return the change stored under `key`.

    Raises:
        Corrupt: It is damaged, or lay under another key.
    """
    rest = memoryview(value)[_CRC.size :]
    if len(rest) < _NOTE.size or zlib.crc32(rest, zlib.crc32(key)) != _CRC.unpack_from(value)[0]:
        raise Corrupt("a change of the feed is damaged: its checksum does not match")
    kind, at, previous, last, id_bytes, sealed_bytes = _NOTE.unpack_from(rest)
    body = bytes(rest[_NOTE.size :])
    end = id_bytes + sealed_bytes
    last_accessed = None if last == _NONE else last
    return Note(kind, at, previous, last_accessed, body[:id_bytes], body[id_bytes:end], body[end:])


def change_key(number: int) -> bytes:
    """Return the key of a change."""
    return keys.number_key(keys.CHANGE, number)


class Standing(NamedTuple):
    """How a feed stands: the name in its cursors, the earliest moment all is known of, what is gone, and measured."""

    name: str
    horizon: float
    trimmed: int
    measured: int

    def packed(self) -> bytes:
        """Return its stored form."""
        packed = _STANDING.pack(self.name.encode(), *self[1:])
        return _CRC.pack(zlib.crc32(packed)) + packed


def standing_of(engine: Engine | View) -> Standing:
    """Return how the feed stands.

    Raises:
        Corrupt: It is damaged.
    """
    value = engine.get(keys.FEED)
    if value is None or len(value) != _CRC.size + _STANDING.size or zlib.crc32(value[4:]) != _CRC.unpack_from(value)[0]:
        raise Corrupt("what says how the feed stands is damaged; restore the store from a backup")
    name, horizon, trimmed, measured = _STANDING.unpack_from(value, _CRC.size)
    return Standing(name.decode("ascii", "replace"), horizon, trimmed, measured)


def part_row(part: Part) -> tuple[bytes, bytes]:
    """Return key and value of a part."""
    began_at = _NONE if part.began_at is None else part.began_at
    return keys.number_key(keys.PART, part.first), _PART.pack(began_at, part.ended_at, part.size_bytes)


def parts_of(engine: Engine) -> list[Part]:
    """Return the parts of the feed, oldest first; there is always one."""
    parts = []
    for key, value in engine.iterate(keys.PART, keys.after(keys.PART), 10_000):
        began_at, ended_at, size_bytes = _PART.unpack(value)
        parts.append(Part(keys.session_in(key), None if began_at == _NONE else began_at, ended_at, size_bytes))
    return parts


class Log:
    """Notes changes, each under the next number; runs on the writer's thread only."""

    def __init__(self, engine: Engine, take: Callable[[], int]) -> None:
        self._engine = engine
        self._take = take
        self.part_first = parts_of(engine)[-1].first
        """The number of the first change of the part that is being written."""

    def begin_anew(self, view: View, number: int, now: float) -> None:
        """Have the feed begin at `now`, behind all changes up to `number`: what was loaded is not in it."""
        standing = standing_of(view)
        for part in parts_of(self._engine):
            view.put(part_row(part)[0], None)
        view.put(*part_row(Part(number + 1)))
        horizon = max(standing.horizon, now)
        view.put(keys.FEED, standing._replace(horizon=horizon, trimmed=number, measured=number).packed())
        self.part_first = number + 1

    def written(
        self, view: View, at: float, id_bytes: bytes, stored: tuple[Head, bytes], record: Record, sealed: bytes
    ) -> int:
        """Note that a record was written over what was stored; return the number of the change."""
        old, was = stored
        kind = ChangeKind.UPDATED
        if not old.is_in_state_of(record):
            kind = ChangeKind.STATE_CHANGED
        elif record.term != old.term:
            kind = ChangeKind.OWNER_CHANGED
        # Where the change before this one may be gone earlier, what it wrote is kept here as well.
        before = b"" if old.changed >= self.part_first else was
        return self.note(view, kind, at, old.changed, id_bytes, sealed, before)

    def note(
        self,
        view: View,
        kind: ChangeKind,
        at: float,
        previous: int,
        id_bytes: bytes,
        sealed: bytes,
        before: bytes = b"",
        *,
        last_accessed: float = _NONE,
    ) -> int:
        """Note a change (`Note`); return its number."""
        number = self._take()
        key = change_key(number)
        start = _NOTE.pack(kind, at, previous, last_accessed, len(id_bytes), len(sealed))
        view.put(key, _checked(key, start, id_bytes, sealed, before))
        return number
