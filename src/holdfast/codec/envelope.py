"""The form in which a record rests: magic, format version, checksum, body.

`HF`, one byte of version, the CRC-32 of the body (RFC 1952, big-endian), then the record as a msgpack array.
Invariant: a format once released stays readable; `tests/codec/test_envelope.py` keeps one record of each.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from ..model.errors import Corrupt, Misused
from ..model.ids import redacted
from ..model.session import Record

MAGIC: Final = b"HF"
VERSION: Final = 1
_START: Final = MAGIC + bytes([VERSION])
_HEADER_BYTES: Final = len(_START) + 4

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)


def seal(record: Record) -> bytes:
    """Return the sealed form of `record`."""
    body = _encoder.encode(record)
    return _START + zlib.crc32(body).to_bytes(4, "big") + body


def open_(sealed: bytes, session_id: str) -> Record:
    """Return the record that was sealed under `session_id`.

    Raises:
        Corrupt: It is damaged, or it is the record of another session.
        Misused: A newer version of Holdfast wrote it.
    """
    if not sealed.startswith(_START):
        if len(sealed) > _HEADER_BYTES and sealed.startswith(MAGIC) and sealed[2] > VERSION:
            raise Misused(
                f"session {redacted(session_id)} was stored in format {sealed[2]}, this version of Holdfast reads "
                f"formats up to {VERSION}; upgrade Holdfast"
            )
        raise _damaged(session_id, "it does not begin like a record")
    body = memoryview(sealed)[_HEADER_BYTES:]
    if zlib.crc32(body) != int.from_bytes(sealed[len(_START) : _HEADER_BYTES], "big"):
        raise _damaged(session_id, "its checksum does not match")
    try:
        record = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise _damaged(session_id, str(error)) from error
    if record.id != session_id:
        raise _damaged(session_id, "it holds the record of another session")
    return record


def _damaged(session_id: str, why: str) -> Corrupt:
    return Corrupt(f"the stored record of session {redacted(session_id)} is damaged: {why}; restore it or delete it")
