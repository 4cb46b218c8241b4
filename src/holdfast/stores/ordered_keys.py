"""How sessions and journals lie in an ordered key-value store: keys and values as bytes, and nothing else.

Numbers are big-endian, so that keys sort as what they stand for; floats are turned so that they do, too. A session has
a number of its own, given once and never again: its journal lies under that, so that whoever gets the same id later has
nothing of it, however much there is to clear away. Everything that is read back is checked by a CRC-32 over key and
value, or leads to something that is.

| key | value |
|---|---|
| `s` id | head, sealed record (`codec.envelope`) |
| `d` deadline, id | nothing; none for what never ends |
| `j` session, stream, term, seq | entry |
| `m` session, number | `Place` of a message, in the order of writing |
| `a` time, number | `Place` of a message of any session, by age |
| `b` time, number | `Place` of an opening or a final entry of any session, by age |
| `g` session, origin, number | nothing |
| `o` session, stream | place of the opening, while the stream is open |
| `f` session, stream | nothing; the stream has its final entry |
| `z` session | how many messages, and their bytes |
| `x` session | nothing; the session is deleted and what belongs to it is being cleared away |
| `y` | bytes of all messages |
| `w` number | a dictionary to compress with, sealed |
| `k`, `n` | the last term given out; numbers below are given out |
| `c` number | a change of the feed (`ordered_log.Note`) |
| `p` number | the part of the feed that begins with that change |
| `h` | how the feed stands (`ordered_log.Standing`) |
| `l` | nothing; the store is being filled (`ordered_dump`), or that was broken off |

A head that was written before there was a feed does not say when its session was created, nor when and by which change
it was written. The highest bit of the state's byte says that a head does.
"""

from __future__ import annotations

import struct
import zlib
from math import inf
from typing import Final, NamedTuple

from ..model.errors import Corrupt, Misused
from ..model.ids import redacted
from ..model.session import Record, State

SESSION: Final = b"s"
DUE: Final = b"d"
ENTRY: Final = b"j"
MESSAGE: Final = b"m"
MESSAGE_BY_AGE: Final = b"a"
END_BY_AGE: Final = b"b"
ORIGIN: Final = b"g"
OPEN: Final = b"o"
FINAL: Final = b"f"
SIZES: Final = b"z"
CLEARED: Final = b"x"
TOTAL: Final = b"y"
DICTIONARY: Final = b"w"
TERM: Final = b"k"
NUMBERS: Final = b"n"
CHANGE: Final = b"c"
PART: Final = b"p"
FEED: Final = b"h"
LOADING: Final = b"l"

U64_MAX: Final = 2**64 - 1
_STATES: Final[tuple[State, ...]] = ("active", "terminated")
_CODES: Final = {state: code for code, state in enumerate(_STATES)}

_HEAD: Final = struct.Struct(">dddQQQB")
_CRC: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">dddQQQBddQ")
_STATE_AT: Final = _CRC.size + _HEAD.size - 1
_HAS_MORE: Final = 0x80
_SHORT_BYTES: Final = _CRC.size + _HEAD.size
_LONG_BYTES: Final = _CRC.size + _LONG.size
_SIZES: Final = struct.Struct(">QQ")
_U64: Final = struct.Struct(">Q")
_FLOAT: Final = struct.Struct(">d")


class Head(NamedTuple):
    """What is known of a session without its record: times in seconds, infinity for never."""

    last_accessed: float
    timeout: float
    expires_at: float
    number: int
    version: int
    term: int
    state: int
    created_at: float | None = None
    """None: an earlier version wrote it, and only the record says so."""
    written_at: float = 0.0
    changed: int = 0
    """The number of the change that wrote it; 0: there was no feed yet."""

    @classmethod
    def of(cls, record: Record, number: int, last_accessed: float, written_at: float, changed: int) -> Head:
        """Return the head of a record to be written by a change at a moment, with the last access known."""
        timeout = inf if record.timeout is None else record.timeout
        return cls(
            max(record.last_accessed, last_accessed),
            timeout,
            record.expires_at,
            number,
            record.version,
            record.term,
            _CODES[record.state],
            record.created_at,
            written_at,
            changed,
        )

    @property
    def deadline(self) -> float:
        """The moment from which it is expired unless it is accessed before, or infinity."""
        return min(self.last_accessed + self.timeout, self.expires_at)

    def is_in_state_of(self, record: Record) -> bool:
        """Tell whether the record has the same state."""
        return self.state == _CODES[record.state]

    @property
    def state_name(self) -> State:
        """The state in words."""
        return _STATES[self.state]

    def packed(self, id_bytes: bytes) -> bytes:
        """Return the bytes that come before the sealed record."""
        if self.created_at is None:
            head = _HEAD.pack(*self[:7])
        else:
            head = _LONG.pack(*self[:6], self.state | _HAS_MORE, *self[7:])
        return _CRC.pack(zlib.crc32(head, zlib.crc32(id_bytes))) + head


def head_of(value: bytes, id_bytes: bytes) -> Head:
    """Return the head of a session's value.

    Raises:
        Corrupt: It is damaged, or that of another session.
    """
    size_bytes = _head_bytes(value)
    head = value[_CRC.size : size_bytes]
    if len(value) >= size_bytes and zlib.crc32(head, zlib.crc32(id_bytes)) == _CRC.unpack_from(value)[0]:
        if size_bytes == _LONG_BYTES:
            last, timeout, end, number, version, term, state, created_at, written_at, changed = _LONG.unpack(head)
            found = Head(last, timeout, end, number, version, term, state & ~_HAS_MORE, created_at, written_at, changed)
        else:
            found = Head(*_HEAD.unpack(head))
        if found.state < len(_STATES):
            return found
    shown = redacted(id_bytes.decode(errors="replace"))
    raise Corrupt(f"what is stored of session {shown} is damaged: its checksum does not match; restore it or delete it")


def sealed_of(value: bytes) -> bytes:
    """Return the sealed record in a session's value."""
    return value[_head_bytes(value) :]


def _head_bytes(value: bytes) -> int:
    return _LONG_BYTES if len(value) > _STATE_AT and value[_STATE_AT] & _HAS_MORE else _SHORT_BYTES


def id_key(session_id: object) -> bytes | None:
    """Return the id as bytes, or None when nothing can have it."""
    try:
        return session_id.encode() if isinstance(session_id, str) else None
    except UnicodeEncodeError:
        return None


def due_key(deadline: float, id_bytes: bytes) -> bytes:
    """Return the key under which a session is found when it is due."""
    return DUE + float_key(deadline) + id_bytes


def float_key(value: float) -> bytes:
    """Return 8 bytes that sort as floats do."""
    (bits,) = _U64.unpack(_FLOAT.pack(value + 0.0))  # -0.0 becomes 0.0
    return _U64.pack(bits ^ U64_MAX if bits >> 63 else bits | 1 << 63)


def after(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix`, which holds a byte that is not 255."""
    prefix = prefix.rstrip(b"\xff")
    return prefix[:-1] + bytes([prefix[-1] + 1])


def number_key(kind: bytes, *numbers: int) -> bytes:
    """Return a key of numbers from 0 to 2**64 - 1."""
    return kind + b"".join(map(_U64.pack, numbers))


def number_in(value: bytes | None) -> int:
    """Return a number stored by itself; 0 for none.

    Raises:
        Corrupt: It is no such number.
    """
    if value is None:
        return 0
    try:
        number, crc = struct.unpack(">QI", value)
    except struct.error:
        number, crc = 0, -1
    if crc != zlib.crc32(value[:8]):
        raise Corrupt("a counter of the store is damaged; restore the store from a backup")
    return int(number)


def number_value(number: int) -> bytes:
    """Return the stored form of a number from 0 to 2**64 - 1."""
    packed = _U64.pack(number)
    return packed + _CRC.pack(zlib.crc32(packed))


def sizes_value(messages: int, size_bytes: int) -> bytes:
    """Return the stored form of how many messages a session has, and their bytes."""
    return _SIZES.pack(messages, size_bytes)


def sizes_in(value: bytes | None) -> tuple[int, int]:
    """Return how many messages a session has, and their bytes; 0 of both for None.

    Raises:
        Corrupt: It is damaged.
    """
    if value is None:
        return 0, 0
    try:
        messages, size_bytes = _SIZES.unpack(value)
    except struct.error as error:
        raise Corrupt("a counter of a journal is damaged; restore the store from a backup") from error
    return messages, size_bytes


def stream_key(kind: bytes, session: int, stream: str) -> bytes:
    """Return a key of a stream; whatever lies in the stream begins with it.

    Raises:
        Misused: The name has more than 65,535 bytes.
    """
    name = stream.encode("utf-8", "surrogatepass")
    if len(name) > 0xFFFF:
        raise Misused(f"the name of a stream has at most 65,535 bytes; this one has {len(name)}")
    return kind + _U64.pack(session) + len(name).to_bytes(2, "big") + name


def session_in(key: bytes) -> int:
    """Return the number of the session in a key of numbers or of a stream."""
    return int(_U64.unpack_from(key, 1)[0])


def origin_in(key: bytes) -> int:
    """Return the origin in its key."""
    return int(_U64.unpack_from(key, 9)[0])
