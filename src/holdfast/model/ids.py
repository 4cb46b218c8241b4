"""Session ids: made here, checked here, and shown only in part."""

from __future__ import annotations

import os
from typing import Final

from .errors import Misused

ID_BYTES_MAX: Final = 255


def new_session_id() -> str:
    """Return 16 bytes from the system's CSPRNG as 32 lower-case hex characters."""
    return os.urandom(16).hex()


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
    """Return the form in which an id may appear in logs and errors: its first four characters and an ellipsis."""
    return session_id[:4] + "…"
