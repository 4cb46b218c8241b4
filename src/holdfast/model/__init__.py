"""The words: session, ids, clock and errors. No I/O and no technology; everything else imports from here."""

from .clock import Clock, SystemClock
from .errors import (
    Conflict,
    Corrupt,
    CursorExpired,
    HoldfastError,
    KeyMissing,
    Misused,
    Moved,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    VersionConflict,
)
from .ids import check_session_id, new_session_id, redacted
from .session import NEVER, Record, State

__all__ = [
    "NEVER",
    "Clock",
    "Conflict",
    "Corrupt",
    "CursorExpired",
    "HoldfastError",
    "KeyMissing",
    "Misused",
    "Moved",
    "NotFound",
    "Record",
    "Refused",
    "State",
    "SystemClock",
    "Unauthenticated",
    "Unavailable",
    "VersionConflict",
    "check_session_id",
    "new_session_id",
    "redacted",
]
