"""Server-sent events: how a journaled entry looks on the wire, and what an event id says.

Source: WHATWG HTML, "Server-sent events"; MCP 2025-11-25, "Resumability and redelivery".
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from ..model import Misused
from ..stores.contract import Entry

RETRY_MS: Final = 2000  # the Python client gives up after two attempts, so the first must not come too soon

_ID: Final = re.compile(r"([0-9a-f]{8})\.([0-9]{1,18}(?:-[0-9]{1,18})?)\.([0-9]{1,18})\.([0-9]{1,18})")


class EventId(NamedTuple):
    """Where in a session's journal an event stands."""

    stream: str
    term: int
    seq: int


def session_tag(session_id: str) -> str:
    """Return 8 hex characters that tell a session's event ids from another's and say nothing about its id."""
    return hashlib.blake2b(session_id.encode(), digest_size=4).hexdigest()


def parse_event_id(text: str, tag: str) -> EventId:
    """Return what a `Last-Event-ID` names.

    Raises:
        Misused: It is not an event id of Holdfast, or belongs to another session.
    """
    match = _ID.fullmatch(text)
    if match is None or match[1] != tag:
        raise Misused("Last-Event-ID is not an event id of this session; open a stream without it")
    return EventId(match[2], int(match[3]), int(match[4]))


def event(tag: str, entry: Entry) -> bytes:
    """Return one journaled entry as an event.

    An opening becomes the event with an id and empty data that makes a stream resumable before its first message.
    """
    if not entry.data:
        return place(tag, EventId(entry.stream, entry.term, entry.seq))
    head = f"id: {tag}.{entry.stream}.{entry.term}.{entry.seq}\n"
    return b"%sdata: %s\n\n" % (head.encode(), entry.data)


def place(tag: str, seen: EventId) -> bytes:
    """Return the event, without a message, that says again where a client stands in a stream.

    Some clients take the id to resume from only from the connection that broke off last.
    """
    return f"id: {tag}.{seen.stream}.{seen.term}.{seen.seq}\nretry: {RETRY_MS}\ndata:\n\n".encode()


def unnumbered(data: bytes) -> bytes:
    """Return a message that is not journaled and so cannot be resumed from."""
    return b"data: %s\n\n" % data


RETRY: Final = f"retry: {RETRY_MS}\n\n".encode()
COMMENT: Final = b":\n\n"
