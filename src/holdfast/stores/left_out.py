"""What is told of sessions that are left out because something of them cannot be read."""

from __future__ import annotations

import logging
from typing import Final

from ..model.ids import redacted

_TOLD_MAX: Final = 1000

_log = logging.getLogger(__name__)


class LeftOut:
    """Logs each session once, of the first 1,000: whoever reads again meets the same damage again."""

    def __init__(self, message: str) -> None:
        self._message = message  # for the id as it is shown, and the error
        self._told: set[object] = set()

    def tell(self, session_id: object, why: object) -> None:
        """Log that the session is left out; an id that is damaged itself may be anything."""
        if session_id not in self._told and len(self._told) < _TOLD_MAX:
            self._told.add(session_id)
            name = session_id.decode(errors="replace") if isinstance(session_id, bytes) else str(session_id)
            _log.error(self._message, redacted(name), why)
