"""Session ids: made here, checked here, and shown only in part."""

from __future__ import annotations

import os
from typing import Final

from .errors import Misused

ID_BYTES_MAX: Final = 255


_ID_BYTES: Final = 16
_IDS_AT_ONCE: Final = 256

_spare: list[str] = []


def new_session_id() -> str:
    """Return 16 bytes from the system's CSPRNG as 32 lower-case hex characters.

    Random bytes are fetched for many ids at once, since each call of the system costs more than all the rest.
    """
    try:
        return _spare.pop()
    except IndexError:
        fresh = os.urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
        width = 2 * _ID_BYTES
        _spare.extend(fresh[at : at + width] for at in range(width, len(fresh), width))
        return fresh[:width]


# Invariant: no id is given out by two processes; a child that is forked must not have what its parent has in store.
os.register_at_fork(after_in_child=_spare.clear)


def check_session_id(session_id: object) -> str:
    """Return `session_id` if it is 1 to 255 bytes of UTF-8 without NUL.

    Raises:
        Misused: It is not a string, empty, too long, holds NUL, or cannot be encoded as UTF-8.
    """
    if not isinstance(session_id, str):
        raise Misused(f"a session id is a str, not {type(session_id).__name__}; pass id=str(...)")
    try:
        size_bytes = len(session_id.encode())
    except UnicodeEncodeError as error:
        raise Misused("a session id must be valid UTF-8; this one holds a lone surrogate") from error
    if not 1 <= size_bytes <= ID_BYTES_MAX:
        raise Misused(f"a session id has 1 to {ID_BYTES_MAX} bytes of UTF-8; this one has {size_bytes}")
    if "\0" in session_id:
        raise Misused("a session id must not hold a NUL character")
    return session_id


def redacted(session_id: str) -> str:
    """Return the form in which an id may appear in logs and errors: its first four characters and an ellipsis.

    It can be printed, whatever the id is.
    """
    return session_id[:4].encode(errors="backslashreplace").decode() + "…"
