"""The forms in which records and other bytes rest.

| form | layout; numbers are big-endian |
|---|---|
| 1 | `HF`, 1, CRC-32, record: neither compressed nor encrypted |
| 2 | `HF`, 2, length of the key's id (1 byte; 0: not encrypted), key's id, flags (1 byte), CRC-32, body |

The CRC-32 (RFC 1952) of form 1 is that of the record; that of form 2 covers the context, the header and the body, so
that damage, and what lies in another's place, is told without a key. With flag 1 the body begins with the number of a
compression dictionary (4 bytes; 0: none), and what follows is compressed. With a key's id what follows that is a salt,
a nonce and what AES-256-GCM makes of the rest, bound to context, header and number (`seal.py`).

Invariant: a form once released stays readable; `tests/codec/` keeps something of each.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from zlib import crc32

from ..model.errors import Misused

MAGIC: Final = b"HF"
VERSION: Final = 2
FORM_1: Final = MAGIC + b"\x01"
FORM_2: Final = MAGIC + b"\x02"
CRC_BYTES: Final = 4
HEADER_1_BYTES: Final = len(FORM_1) + CRC_BYTES
NUMBER_BYTES: Final = 4
COMPRESSED: Final = 1
_KEY_AT: Final = len(FORM_2) + 1


class BrokenError(Exception):
    """What is stored is damaged; the message says how."""


class Parts(NamedTuple):
    """What form 2 holds. `header` is all before the checksum; `number` is that of a dictionary, or empty."""

    header: bytes
    key_id: str
    number: bytes
    body: bytes


def start_of(key_id: str) -> bytes:
    """Return how everything in form 2 begins that is sealed under the key, or under none with ""."""
    return FORM_2 + bytes([len(key_id)]) + key_id.encode()


def key_of(sealed: bytes) -> str:
    """Return the id of the key that something is sealed under, as far as its first bytes tell; "" for none."""
    if not sealed.startswith(FORM_2) or len(sealed) < _KEY_AT:
        return ""
    return sealed[_KEY_AT : _KEY_AT + sealed[_KEY_AT - 1]].decode(errors="replace")


def joined(header: bytes, rest: bytes, context: bytes) -> bytes:
    """Return form 2 of a header and what follows the checksum."""
    return header + crc32(rest, crc32(header, crc32(context))).to_bytes(CRC_BYTES, "big") + rest


def parts_of(sealed: bytes, context: bytes, what: str) -> Parts:
    """Return what lies in `sealed`, of form 2, which was joined with `context`.

    Raises:
        BrokenError: It is damaged, or lies where it does not belong.
        Misused: A newer version of Holdfast wrote it.
    """
    if len(sealed) <= HEADER_1_BYTES or not sealed.startswith(MAGIC):
        raise BrokenError("it does not begin as it should")
    if sealed[2] > VERSION:
        raise Misused(
            f"{what} was stored in format {sealed[2]}, this version of Holdfast reads formats up to {VERSION}; "
            "upgrade Holdfast"
        )
    flags_at = _KEY_AT + sealed[_KEY_AT - 1]
    body_at = flags_at + 1 + CRC_BYTES
    if sealed[2] < VERSION or len(sealed) < body_at:
        raise BrokenError("it does not begin as it should, or is cut off")
    header, body = sealed[: flags_at + 1], sealed[body_at:]
    if crc32(body, crc32(header, crc32(context))) != int.from_bytes(sealed[flags_at + 1 : body_at], "big"):
        raise BrokenError("its checksum does not match, or it is something else's")
    flags = header[-1]
    if flags & ~COMPRESSED:
        raise Misused(f"{what} was stored by a newer version of Holdfast (flags {flags}); upgrade Holdfast")
    number_bytes = NUMBER_BYTES if flags else 0
    if len(body) < number_bytes:
        raise BrokenError("it is cut off")
    return Parts(header, header[_KEY_AT:-1].decode(errors="replace"), body[:number_bytes], body[number_bytes:])
