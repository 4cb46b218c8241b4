"""Entries of a journal as a codec seals them: request and data together, bound to their place."""

from __future__ import annotations

from typing import Final

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt
from .contract import Entry

_REQUEST_AT: Final = 4
_WHAT: Final = "an entry of the journal"

_encode: Final = msgspec.msgpack.Encoder().encode


def entry_context(session_id: str, entry: Entry) -> bytes:
    """Return what an entry is bound to where nothing shorter says whose it is."""
    return b"entry\0" + _encode((session_id, entry.stream, entry.term, entry.seq, int(entry.kind)))


def sealed_content(codec: Codec, context: bytes, entry: Entry) -> bytes:
    """Return request and data of an entry, sealed."""
    return codec.seal_bytes(len(entry.request).to_bytes(_REQUEST_AT, "big") + entry.request + entry.data, context)


def with_content(codec: Codec, context: bytes, entry: Entry) -> Entry:
    """Return an entry as it was before its content, now in its data, was sealed.

    Raises:
        Corrupt: It is damaged, or lay in another's place.
        KeyMissing: It is sealed under a key that is not in the key ring.
    """
    content = codec.open_bytes(entry.data, context, what=_WHAT)
    data_at = _REQUEST_AT + int.from_bytes(content[:_REQUEST_AT], "big")
    if len(content) < data_at:
        raise Corrupt(f"{_WHAT} is damaged: it is cut off; restore its session or delete it")
    return msgspec.structs.replace(entry, data=content[data_at:], request=content[_REQUEST_AT:data_at])
