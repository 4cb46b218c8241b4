"""What the gateway decides about a session's worker: pure functions of what was recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from ..model.jsonrpc import Message, RequestId, notification, raw_member, request
from .contract import Exit, Handshake

SUBSCRIPTIONS_MAX: Final = 1000
SUBSCRIPTIONS_BYTES_MAX: Final = 2**18
LEVEL_BYTES_MAX: Final = 1000
CAPABILITIES_BYTES_MAX: Final = 2**16
NOTED_OVER_BYTES: Final = 4096
METHOD_LENGTH_MAX: Final = 200
LISTS: Final = ("tools", "prompts", "resources")

UNANSWERED: Final = "this call was not answered, and may have had its effects; look before you call again"

REMEMBERED: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})

Change: TypeAlias = Callable[[Handshake], Handshake]

_PASSED_ON: Final = re.compile(r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|LOGNAME|USER|SHELL|TZ|TMPDIR")


def with_subscription(handshake: Handshake, uri: str) -> Handshake:
    """Return the handshake with one more resource subscription; beyond the bounds the oldest are forgotten."""
    kept = [*without_subscription(handshake, uri).subscriptions, uri][-SUBSCRIPTIONS_MAX:]
    while sum(len(one.encode()) for one in kept) > SUBSCRIPTIONS_BYTES_MAX:
        del kept[0]
    return msgspec.structs.replace(handshake, subscriptions=tuple(kept))


def without_subscription(handshake: Handshake, uri: str) -> Handshake:
    """Return the handshake with one resource subscription less."""
    return msgspec.structs.replace(handshake, subscriptions=tuple(u for u in handshake.subscriptions if u != uri))


def change_of(method: str | None, body: bytes) -> Change:
    """Return what a successful request of a `REMEMBERED` method changes in the handshake."""
    params = raw_member(body, "params")
    if method == "logging/setLevel":
        return partial(msgspec.structs.replace, log_level=params if len(params) <= LEVEL_BYTES_MAX else None)
    uri = msgspec.json.decode(raw_member(params, "uri"))
    if not isinstance(uri, str):
        return lambda handshake: handshake
    return partial(with_subscription if method == "resources/subscribe" else without_subscription, uri=uri)


def with_crash(handshake: Handshake, crashed_at: float, now: float, window_s: float) -> Handshake:
    """Return the handshake with one more crash, without those the window has left behind; each counts once."""
    recent = {at for at in (*handshake.crashes, crashed_at) if now - at < window_s}
    return msgspec.structs.replace(handshake, crashes=tuple(sorted(recent)))


def note_of(message: Message, frame: bytes) -> bytes:
    """Return what the next server must know of a request, unless it is short enough to be told whole: then nothing."""
    if len(frame) <= NOTED_OVER_BYTES:
        return b""
    assert message.id is not None
    meta = None if message.params is None else message.params.meta
    token = None if meta is None else meta.progress_token
    params = {} if token is None else {"_meta": {"progressToken": token}}
    return request(message.id, (message.method or "")[:METHOD_LENGTH_MAX], msgspec.json.encode(params))


def protocol_of(initialize_answer: bytes) -> str | None:
    """Return the protocol version a server agreed to, or None when it answered with anything else."""
    try:
        return msgspec.json.decode(raw_member(initialize_answer, "result", "protocolVersion"), type=str)
    except msgspec.MsgspecError:
        return None


def capabilities_of(initialize_answer: bytes) -> bytes:
    """Return a server's capabilities as JSON; nothing when they are larger than any sensible ones."""
    found = raw_member(initialize_answer, "result", "capabilities")
    return found if len(found) <= CAPABILITIES_BYTES_MAX else b""


def what_changed(declared: bytes, capabilities: bytes) -> list[bytes]:
    """Return the notifications a client needs when a new worker has other capabilities than were declared to it.

    It is told of the lists of which it was declared that changes would be told.
    """
    try:
        before = msgspec.json.decode(declared, type=dict[str, Any])
        after = msgspec.json.decode(capabilities, type=dict[str, Any])
    except msgspec.MsgspecError:
        return []
    if before == after:
        return []
    told = [kind for kind in LISTS if isinstance(before.get(kind), dict) and before[kind].get("listChanged") is True]
    return [notification(f"notifications/{kind}/list_changed") for kind in told]


def replay(handshake: Handshake, own_id: str) -> list[tuple[RequestId | None, bytes]]:
    """Return what to say to a new worker after its answer to initialize, each with the id that will be answered."""
    steps: list[tuple[RequestId | None, bytes]] = []
    if handshake.initialized:
        steps.append((None, notification("notifications/initialized")))
    if handshake.log_level is not None:
        level_id = f"{own_id}-level"
        steps.append((level_id, request(level_id, "logging/setLevel", handshake.log_level)))
    for number, uri in enumerate(handshake.subscriptions):
        subscription_id = f"{own_id}-subscription-{number}"
        params = msgspec.json.encode({"uri": uri})
        steps.append((subscription_id, request(subscription_id, "resources/subscribe", params)))
    return steps


def retry_delay_s(failures: int) -> float:
    """Return how long to wait after so many starts in a row that failed: half a second, doubled up to half a minute."""
    return min(30.0, 0.5 * 2.0 ** min(failures - 1, 10))


def is_crash(ended: Exit) -> bool:
    """Return whether the worker ended by its own doing; else its keeper was lost, and the worker with it."""
    return ended.code is not None or ended.signal is not None


def how_it_ended(ended: Exit) -> str:
    """Return one sentence for the people who read it: how a worker ended, and its last words."""
    said = ended.stderr.strip().splitlines()
    return f"the MCP server ended: {ended.why}" + (f"; its last line was: {said[-1][:300]}" if said else "")


def passed_on(environ: dict[str, str]) -> dict[str, str]:
    """Return the part of an environment that a worker gets without being asked for."""
    return {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}
