"""What the edge decides, as functions of data: no I/O, no clock, no chance.

Source: MCP 2025-11-25, "Transports", and the routing rules of a gateway whose servers speak stdio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal, TypeVar

import msgspec

from ..model import Misused
from ..model.jsonrpc import NotJson, RequestId
from ..stores.contract import Entry

T = TypeVar("T")

PROTOCOL_VERSIONS: Final = ("2025-03-26", "2025-06-18", "2025-11-25")
SPOKEN_BY_OLD_SERVERS: Final = "2024-11-05"
"""What a server agreed to that speaks nothing later; its clients say so in every request, over this transport too."""
BATCHES: Final = "2025-03-26"
"""The one protocol in which a client may send several messages at once."""
BATCH_MAX: Final = 100
PRIMED_SINCE: Final = "2025-11-25"
"""From this protocol on, clients know an event without a message, which makes a stream resumable from its beginning.

Earlier ones may take it for a message that cannot be read.
"""

UNRELATED: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)


@lru_cache(maxsize=256)  # clients send one of few values with every request
def wants(accept: str, media_type: str) -> bool:
    """Return whether an Accept header allows `media_type`; an absent header allows everything (RFC 9110, 12.5.1)."""
    if not accept:
        return True
    group = media_type.partition("/")[0] + "/*"
    ranges = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return not ranges.isdisjoint({media_type, group, "*/*"})


def route(
    method: str,
    token: RequestId | None,
    tokens: Mapping[RequestId, T],
    in_flight: Iterable[T],
    standalone_open: bool,
) -> T | Literal["standalone"]:
    """Return the call on whose stream a worker's own message belongs, or "standalone" for the GET stream.

    Progress goes by its token; changes of lists and resources to the GET stream; all else to the only call in flight,
    else to the GET stream while it is open, else to the newest call.
    """
    if method == "notifications/progress" and token is not None and token in tokens:
        return tokens[token]
    calls = list(in_flight)
    if method in UNRELATED or not calls:
        return "standalone"
    if len(calls) == 1:
        return calls[0]
    return "standalone" if standalone_open else calls[-1]


def split_batch(body: bytes) -> list[bytes]:
    """Return the messages of a batch, unread.

    Raises:
        Misused: It is no JSON array, is empty, or has more than `BATCH_MAX` messages.
    """
    try:
        parts = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotJson(f"not a batch in JSON: {error}") from error
    if not 1 <= len(parts) <= BATCH_MAX:
        raise Misused(f"a batch of {len(parts)} messages; send 1 to {BATCH_MAX}")
    return [bytes(part) for part in parts]


def lost_before(entry: Entry, seen: tuple[int, int]) -> int | None:
    """Return how many entries of a stream are missing between `seen` (term, seq) and `entry`, the next one kept.

    None means an unknown number: the client has seen more than the journal still knows, so a tail was lost.
    """
    term, seq = seen
    if entry.seq <= seq and entry.term > term:
        return None
    return entry.seq - seq - 1


def use_window_s(timeout: float | None) -> float:
    """Return how long a host may keep a use to itself: with the touch delay of the store it is 30 s at most."""
    return 27.0 if timeout is None else min(max(timeout / 100, 1.0), 27.0)


def use_must_be_told(used_at: float, told_at: float, timeout: float | None, now: float) -> bool:
    """Return whether the store must learn of a use now: its window is over, or the session might expire."""
    if timeout is None or used_at <= told_at:
        return False
    window_s = use_window_s(timeout)
    return now - told_at >= window_s or told_at + timeout <= now + window_s
