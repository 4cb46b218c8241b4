"""Entries of a journal in an ordered key-value store, and what leads to them (`ordered_keys` has the table)."""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from ..codec import Codec
from ..model.errors import Corrupt
from . import ordered_keys as keys
from .contract import Entry, Kind
from .sealed_entries import sealed_content, with_content

_CRC: Final = struct.Struct(">I")
_ENTRY: Final = struct.Struct(">BdQQI")
_PLACE: Final = struct.Struct(">QQQBQd")
_POSITION: Final = struct.Struct(">QQ")
_SEALED: Final = 0x80
_STREAM_AT: Final = 1 + 8 + 2


def entry_key(stream: bytes, term: int, seq: int) -> bytes:
    """Return the key of an entry in the stream whose `stream_key` is given; numbers are cut to 0 to 2**64 - 1."""
    return stream + _POSITION.pack(min(max(term, 0), keys.U64_MAX), min(max(seq, 0), keys.U64_MAX))


def entry_value(key: bytes, entry: Entry, number: int, codec: Codec) -> bytes:
    """Return the stored form of an entry. What a codec seals is bound to the key, which is never another entry's."""
    kind, request, data = int(entry.kind), entry.request, entry.data
    if not codec.is_plain:
        kind, request, data = kind | _SEALED, b"", sealed_content(codec, key, entry)
    rest = _ENTRY.pack(kind, entry.at, entry.origin, number, len(request)) + request + data
    return _CRC.pack(zlib.crc32(rest, zlib.crc32(key))) + rest


def entry_of(key: bytes, value: bytes, codec: Codec) -> Entry:
    """Return the entry stored under `key`.

    Raises:
        Corrupt: It is damaged, or lay under another key.
        KeyMissing: It is sealed under a key that is not in the key ring.
    """
    entry = closed_entry(key, value)
    return with_content(codec, key, entry) if value[_CRC.size] & _SEALED else entry


def sealed_in(value: bytes) -> bytes:
    """Return what a codec sealed in an entry that can be read; nothing is in one that lies in clear."""
    return value[_CRC.size + _ENTRY.size :] if value[_CRC.size] & _SEALED else b""


def closed_entry(key: bytes, value: bytes) -> Entry:
    """Return the entry stored under `key`, with the content that it has there: sealed, it is not opened.

    Raises:
        Corrupt: It is damaged, or lay under another key.
    """
    rest = memoryview(value)[_CRC.size :]
    if len(rest) < _ENTRY.size or zlib.crc32(rest, zlib.crc32(key)) != _CRC.unpack_from(value)[0]:
        raise Corrupt(
            "an entry of the journal is damaged: its checksum does not match; delete its session or restore it"
        )
    kind, at, origin, _, request_bytes = _ENTRY.unpack_from(rest)
    data_at = _ENTRY.size + request_bytes
    term, seq = _POSITION.unpack_from(key, len(key) - _POSITION.size)
    stream = key[_STREAM_AT : -_POSITION.size].decode("utf-8", "surrogatepass")
    request, data = bytes(rest[_ENTRY.size : data_at]), bytes(rest[data_at:])
    return Entry(stream, term, seq, Kind(kind & ~_SEALED), at, data, request, origin)


def entry_number(value: bytes) -> int:
    """Return the number under which an entry that can be read was written."""
    return int(_ENTRY.unpack_from(value, _CRC.size)[3])


class Place(NamedTuple):
    """Where an entry is, and all that must be known to take it away without reading it."""

    session: int
    number: int
    size_bytes: int
    kind: int
    origin: int
    at: float
    key: bytes
    """Of the entry."""

    def packed(self) -> bytes:
        """Return its stored form."""
        return _PLACE.pack(*self[:-1]) + self.key

    @property
    def stream(self) -> bytes:
        """The `stream_key` of its stream."""
        return self.key[: -_POSITION.size]

    def every_key(self) -> list[bytes]:
        """Return every key there is for the entry, but those that say how its stream stands."""
        found = [self.key]
        if self.kind == Kind.MESSAGE:
            found.append(keys.number_key(keys.MESSAGE, self.session, self.number))
        found.append(self.by_age())
        if self.origin:
            found.append(keys.number_key(keys.ORIGIN, self.session, self.origin, self.number))
        return found

    def by_age(self) -> bytes:
        """Return the key under which it is found by its age."""
        kind = keys.MESSAGE_BY_AGE if self.kind == Kind.MESSAGE else keys.END_BY_AGE
        return kind + keys.float_key(self.at) + self.number.to_bytes(8, "big")


def place_of(value: bytes) -> Place:
    """Return the place stored as `value`.

    Raises:
        Corrupt: It is none.
    """
    if len(value) <= _PLACE.size + _POSITION.size:
        raise Corrupt("an index of the journal is damaged; restore the store from a backup")
    session, number, size_bytes, kind, origin, at = _PLACE.unpack_from(value)
    return Place(session, number, size_bytes, kind, origin, at, value[_PLACE.size :])
