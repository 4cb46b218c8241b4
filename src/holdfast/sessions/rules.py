"""What the session manager decides: when a session is gone, and what its next record is. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, TypeAlias

import msgspec

from ..model.errors import Misused
from ..model.session import Record

Duration: TypeAlias = float | timedelta | None
"""Seconds, or as long as a timedelta; None is for ever."""

OWNER_BYTES_MAX: Final = 1024
TAG_BYTES_MAX: Final = 255
TAGS_MAX: Final = 64
REASON_BYTES_MAX: Final = 1024
TOMBSTONE_S_MAX: Final = 86_400.0

_replaced: Final = msgspec.structs.replace


def is_gone(record: Record, now: float, late_s: float = 0.0) -> bool:
    """Tell whether nobody may use the session any more: it is terminated or expired."""
    return record.state != "active" or is_expired(record, now, late_s)


def is_expired(record: Record, now: float, late_s: float = 0.0) -> bool:
    """Tell whether the session has been idle for its timeout, or has reached its greatest age.

    With `late_s` it must have been idle for that much longer: another process may know of accesses that are not
    written yet. No access extends a timeout of 0 or the greatest age, so these are exact all the same.
    """
    return (_late_deadline(record, late_s) if late_s else record.deadline) <= now


def left_s(record: Record, now: float, late_s: float = 0.0) -> float:
    """Return how long the session still lives if nobody accesses it; 0 or less when it is gone. As `is_gone`."""
    if record.state != "active":
        return 0.0
    return (_late_deadline(record, late_s) if late_s else record.deadline) - now


def _late_deadline(record: Record, late_s: float) -> float:
    timeout = record.timeout
    return min(record.last_accessed + timeout + late_s, record.expires_at) if timeout else record.deadline


def touch_delay_s(timeout_s: float | None) -> float:
    """Return how long an access may wait to be written: 1 % of the timeout, at least 1 s, at most 3 s.

    Invariant: with a round of a store's own chores it is no more than others wait before they delete what is expired.
    """
    if timeout_s is None or timeout_s >= 300.0:
        return 3.0
    return timeout_s / 100 if timeout_s > 100.0 else 1.0


def ended(record: Record, reason: str | None) -> dict[str, object]:
    """Return what changes of a session that is ended for good; it stays for a day at most, to be looked at."""
    timeout = TOMBSTONE_S_MAX if record.timeout is None else min(record.timeout, TOMBSTONE_S_MAX)
    return {"state": "terminated", "reason": reason, "timeout": timeout}


def next_version(record: Record, accessed_at: float, changes: dict[str, Any]) -> Record:
    """Return the record as the next write stores it; its last access never moves back."""
    accessed_at = max(accessed_at, record.last_accessed)
    return _replaced(record, version=record.version + 1, last_accessed=accessed_at, **changes)


def duration_s(value: Duration, name: str) -> float | None:
    """Return a timeout or an age in seconds; None means for ever.

    Raises:
        Misused: It is not a number of seconds or a timedelta, or is negative or NaN.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Misused(f"{name} is a number of seconds, a timedelta or None, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds < math.inf:
        raise Misused(f"{name} is 0 seconds or more, not {seconds}; None means for ever")
    return seconds


def checked_owner(owner: str | None) -> str | None:
    """Return `owner`, or raise `Misused` when it is not 1 to 1,024 bytes of UTF-8."""
    return None if owner is None else _checked_text(owner, "owner", OWNER_BYTES_MAX)


def checked_reason(reason: str | None) -> str | None:
    """Return `reason`, or raise `Misused` when it is not 1 to 1,024 bytes of UTF-8."""
    return None if reason is None else _checked_text(reason, "reason", REASON_BYTES_MAX)


def checked_tags(tags: Iterable[str]) -> frozenset[str]:
    """Return `tags` as a set.

    Raises:
        Misused: One is not a str of 1 to 255 bytes of UTF-8, or there are more than 64.
    """
    if isinstance(tags, (str, bytes)):
        raise Misused(f"tags is a collection of str, not one {type(tags).__name__}; pass [{tags!r:.40}]")
    checked = frozenset(_checked_text(tag, "a tag", TAG_BYTES_MAX) for tag in tags)
    if len(checked) > TAGS_MAX:
        raise Misused(f"a session has at most {TAGS_MAX} tags, not {len(checked)}")
    return checked


def _checked_text(text: str, name: str, bytes_max: int) -> str:
    if not isinstance(text, str):
        raise Misused(f"{name} is a str, not {type(text).__name__}")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise Misused(f"{name} must be valid UTF-8; this one holds a lone surrogate") from error
    if not 1 <= size_bytes <= bytes_max or "\0" in text:
        raise Misused(f"{name} has 1 to {bytes_max} bytes of UTF-8 without NUL; this one has {size_bytes}")
    return text
