"""Holdfast keeps MCP sessions alive: durable, isolated sessions for any MCP server, and as a library.

    from holdfast import SessionManager

    async with SessionManager.open("sqlite:///sessions.db") as sessions:
        session = await sessions.create({"items": []}, timeout=60)

The map, from the bottom up; a package imports only from those above it in this list:

    model          the words: session record, ids, errors, clock
    codec          values and records to bytes and back, exactly; compressed and encrypted
    runtime        the only makers of tasks and endless loops
    stores         where records, journals and the feed are kept: contract, memory, sqlite, leveldb, rocksdb
    identity       who asks: tokens, JSON Web Tokens, the header of a proxy
    sessions       the manager: creates, reads, changes and ends sessions
    backup         backups of stores, snapshots of sessions
    observability  what a line of the log tells, and never tells
    transport      the MCP edge over HTTP
    gateway        what runs a session's MCP server
    testing        contract suites for stores, a clock that is moved by hand
    config         settings from flags, environment and file
    wiring         the only chooser of implementations
    server, cli    the doors

What this module offers is imported when it is first asked for, so that `import holdfast` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ._version import __version__

if TYPE_CHECKING:
    from .codec import Codec, KeyRing
    from .model import (
        Clock,
        Conflict,
        Corrupt,
        CursorExpired,
        HoldfastError,
        KeyMissing,
        Misused,
        Moved,
        NotFound,
        Refused,
        Unavailable,
        VersionConflict,
    )
    from .sessions import (
        Capacity,
        Draft,
        EventsMissed,
        Follower,
        Group,
        Latency,
        Metrics,
        Progress,
        Requests,
        Restored,
        Retention,
        Scan,
        Session,
        SessionCreated,
        SessionDeleted,
        SessionEvent,
        SessionEvicted,
        SessionExpired,
        SessionManager,
        SessionOwnerChanged,
        SessionStateChanged,
        SessionUpdated,
        Subscription,
    )
    from .stores import FeedBounds, JournalBounds, MemoryStore, StoreInfo, open_store

_HOMES: Final = {
    "Capacity": "sessions",
    "Clock": "model",
    "Codec": "codec",
    "Conflict": "model",
    "Corrupt": "model",
    "CursorExpired": "model",
    "Draft": "sessions",
    "EventsMissed": "sessions",
    "FeedBounds": "stores",
    "Follower": "sessions",
    "Group": "sessions",
    "HoldfastError": "model",
    "JournalBounds": "stores",
    "KeyMissing": "model",
    "KeyRing": "codec",
    "Latency": "sessions",
    "MemoryStore": "stores",
    "Metrics": "sessions",
    "Misused": "model",
    "Moved": "model",
    "NotFound": "model",
    "Progress": "sessions",
    "Refused": "model",
    "Requests": "sessions",
    "Restored": "sessions",
    "Retention": "sessions",
    "Scan": "sessions",
    "Session": "sessions",
    "SessionCreated": "sessions",
    "SessionDeleted": "sessions",
    "SessionEvent": "sessions",
    "SessionEvicted": "sessions",
    "SessionExpired": "sessions",
    "SessionManager": "sessions",
    "SessionOwnerChanged": "sessions",
    "SessionStateChanged": "sessions",
    "SessionUpdated": "sessions",
    "StoreInfo": "stores",
    "Subscription": "sessions",
    "Unavailable": "model",
    "VersionConflict": "model",
    "open_store": "stores",
}

__all__ = [
    "Capacity",
    "Clock",
    "Codec",
    "Conflict",
    "Corrupt",
    "CursorExpired",
    "Draft",
    "EventsMissed",
    "FeedBounds",
    "Follower",
    "Group",
    "HoldfastError",
    "JournalBounds",
    "KeyMissing",
    "KeyRing",
    "Latency",
    "MemoryStore",
    "Metrics",
    "Misused",
    "Moved",
    "NotFound",
    "Progress",
    "Refused",
    "Requests",
    "Restored",
    "Retention",
    "Scan",
    "Session",
    "SessionCreated",
    "SessionDeleted",
    "SessionEvent",
    "SessionEvicted",
    "SessionExpired",
    "SessionManager",
    "SessionOwnerChanged",
    "SessionStateChanged",
    "SessionUpdated",
    "StoreInfo",
    "Subscription",
    "Unavailable",
    "VersionConflict",
    "__version__",
    "open_store",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
