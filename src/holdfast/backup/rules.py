"""What backups decide: which sessions come back from one, how files are named, and which go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ..model.errors import Misused
from ..model.session import Record
from ..sessions.rules import is_expired

LATE_S: Final = 5.0
"""How late other processes may have written an access that keeps a session (`sessions.acts`)."""
TERMS_PASSED_OVER: Final = 1_000_000
"""More terms than are given out between a backup and its restore: none must be given out again."""
SUFFIX: Final = ".hfa"

_OWN: Final = re.compile(r"holdfast-\d{8}T\d{6}Z(-\d{1,4})?\.hfa")
_PART: Final = re.compile(r"holdfast-\d{8}T\d{6}Z(-\d{1,4})?\.hfa\.part-[0-9a-f]{8}")
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

_replaced: Final = msgspec.structs.replace


def revived(record: Record, taken_at: float, now: float) -> Record | None:
    """Return the record as it comes back at `now` from what was taken at `taken_at`, or None when it stays gone.

    The idle clock of an active session starts again. What was expired then is no more, nor is what has reached its
    greatest age since. What is terminated stays so, for as long as it is kept at all.
    """
    if record.state == "active":
        if is_expired(record, taken_at, LATE_S):
            return None
        record = _replaced(record, last_accessed=max(record.last_accessed, now))
    return None if is_expired(record, now) else record


def name_at(moment: float) -> str:
    """Return the name of a backup made at a moment, without its suffix."""
    return datetime.fromtimestamp(moment, UTC).strftime("holdfast-%Y%m%dT%H%M%SZ")


def is_own(name: str) -> bool:
    """Tell whether a file is named as scheduled backups are."""
    return _OWN.fullmatch(name) is not None


def is_part(name: str) -> bool:
    """Tell whether a file is named as a scheduled backup is while it is being made."""
    return _PART.fullmatch(name) is not None


def beyond(names: Iterable[str], newest: str, keep: int) -> list[str]:
    """Return which of the backups go, so that `keep` stay: the oldest by name, and never `newest`."""
    others = sorted((name for name in names if is_own(name) and name != newest), key=_order, reverse=True)
    return others[keep - 1 :]


def checked_name(name: str) -> str:
    """Return the name of a snapshot, or raise `Misused` when it is none."""
    if not _NAME.fullmatch(name):
        raise Misused(f"{name!r:.120} is no name for a snapshot; use 1 to 100 letters, digits and . _ -, no . first")
    return name


def _order(name: str) -> tuple[str, int]:
    stem, _, rest = name.removesuffix(SUFFIX).partition("Z")
    return stem, int(rest[1:] or 0)
