"""The session header: an id may be any Unicode, a header value is visible ASCII.

Every byte of the id's UTF-8 that is not visible, and `%`, is percent-encoded; nothing is normalised. Ids that
Holdfast makes itself look the same on either side.
Source: MCP 2025-11-25, "Session Management"; RFC 3986, section 2.1.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

SESSION: Final = b"mcp-session-id"

_VISIBLE: Final = bytes(code for code in range(0x21, 0x7F) if code != ord("%")).decode()
_FORM: Final = re.compile(rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})+")


def header_of(session_id: str) -> bytes:
    """Return the header's value for an id."""
    return quote(session_id, safe=_VISIBLE).encode()


def id_from(header: bytes) -> str | None:
    """Return the id that a header's value is for, or None when it is for none."""
    if _FORM.fullmatch(header) is None:
        return None
    try:
        return unquote_to_bytes(header).decode()
    except UnicodeDecodeError:
        return None
