"""What the session manager decides: when a session is gone, and what its next record is. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, TypeAlias

import msgspec

from ..model.errors import Misused
from ..model.session import Record
from ..stores.contract import Query

Duration: TypeAlias = float | timedelta | None
"""Seconds, or as long as a timedelta; None is for ever."""

OWNER_BYTES_MAX: Final = 1024
TAG_BYTES_MAX: Final = 255
TAGS_MAX: Final = 64
REASON_BYTES_MAX: Final = 1024
TOMBSTONE_S_MAX: Final = 86_400.0
TERM_MAX: Final = 2**63 - 1
SECONDS_MAX: Final = 2.0**53
STATES: Final = ("active", "terminated", None)

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
    used_at = record.last_accessed
    accessed_at = accessed_at if accessed_at > used_at else used_at  # a call of max would cost half of all this
    if len(changes) == 1 and "metadata" in changes:  # nearly always; written out it takes a third of the time
        return Record(
            record.id,
            record.version + 1,
            record.term,
            record.created_at,
            accessed_at,
            record.timeout,
            record.max_age,
            record.owner,
            record.tags,
            record.state,
            record.reason,
            changes["metadata"],
        )
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
    _check_real(value, name, " a timedelta or None,")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds < math.inf:
        raise Misused(f"{name} is 0 seconds or more, not {seconds}; None means for ever")
    return seconds


def wait_s(value: float, name: str) -> float:
    """Return how long to wait, in seconds; infinity is as long as it takes.

    Raises:
        Misused: It is not a number, or is negative or NaN.
    """
    _check_real(value, name)
    if not value >= 0:
        raise Misused(f"{name} is 0 seconds or more, not {value}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def moment(value: float, name: str) -> float:
    """Return a moment in seconds since the epoch.

    Raises:
        Misused: It is not a finite number.
    """
    _check_real(value, name)
    if not -SECONDS_MAX <= value <= SECONDS_MAX:
        raise Misused(f"{name} is a moment in seconds since the epoch, not {value}")
    return float(value)


def count(value: int, name: str) -> int:
    """Return a number of things, or raise `Misused` when it is not an int of 1 or more."""
    if type(value) is not int or value < 1:
        raise Misused(f"{name} is an int of 1 or more, not {value!r:.40}")
    return value


def checked_term(term: int) -> int:
    """Return `term`, or raise `Misused` when it is not an int from 0 to 2**63 - 1."""
    if type(term) is not int or not 0 <= term <= TERM_MAX:
        raise Misused(f"a term is an int from 0 to 2**63 - 1, not {term!r:.40}; a store's next_term() gives them out")
    return term


def checked_query(query: Query, cursor: str | None) -> Query:
    """Return `query` if it and the cursor could mean something.

    Raises:
        Misused: One of them is of another type, or the state is none that there is.
    """
    given = {"prefix": query.prefix, "tag": query.tag, "owner": query.owner, "cursor": cursor}
    for name, value in given.items():
        if value is not None:
            _check_unicode(value, name)
    if query.state not in STATES:
        raise Misused(f'state is "active", "terminated", or None for both, not {query.state!r:.40}')
    return query


def checked_owner(owner: str | None) -> str | None:
    """Return `owner`, or raise `Misused` when it is not 1 to 1,024 bytes of UTF-8."""
    return None if owner is None else _checked_text(owner, "owner", OWNER_BYTES_MAX)


def checked_reason(reason: str | None) -> str | None:
    """Return `reason`, or raise `Misused` when it is not 1 to 1,024 bytes of UTF-8."""
    return None if reason is None else _checked_text(reason, "reason", REASON_BYTES_MAX)


def tag_set(tags: Iterable[str]) -> frozenset[str]:
    """Return any number of tags as a set.

    Raises:
        Misused: One is not a str of 1 to 255 bytes of UTF-8.
    """
    if isinstance(tags, (str, bytes)):
        raise Misused(f"tags is a collection of str, not one {type(tags).__name__}; pass [{tags!r:.40}]")
    if not isinstance(tags, Iterable):
        raise Misused(f"tags is a collection of str, not {type(tags).__name__}; leave it out for none")
    return frozenset(_checked_text(tag, "a tag", TAG_BYTES_MAX) for tag in tags)


def checked_tags(tags: Iterable[str]) -> frozenset[str]:
    """Return the tags of a session as a set.

    Raises:
        Misused: One is not a str of 1 to 255 bytes of UTF-8, or there are more than 64.
    """
    checked = tag_set(tags)
    if len(checked) > TAGS_MAX:
        raise Misused(f"a session has at most {TAGS_MAX} tags, not {len(checked)}")
    return checked


def _check_real(value: object, name: str, also: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Misused(f"{name} is a number of seconds,{also} not {type(value).__name__}")


def _checked_text(text: str, name: str, bytes_max: int) -> str:
    size_bytes = _check_unicode(text, name)
    if not 1 <= size_bytes <= bytes_max or "\0" in text:
        raise Misused(f"{name} has 1 to {bytes_max} bytes of UTF-8 without NUL; this one has {size_bytes}")
    return text


def _check_unicode(text: object, name: str) -> int:
    """Return how many bytes of UTF-8 a text has."""
    if not isinstance(text, str):
        raise Misused(f"{name} is a str, not {type(text).__name__}")
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise Misused(f"{name} must be valid UTF-8; this one holds a lone surrogate") from error
