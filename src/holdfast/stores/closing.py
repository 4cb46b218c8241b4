"""The end of a store: within 5 s, whatever it waits for."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, Final

from ..runtime import shielded

CLOSE_S: Final = 5.0

_log = logging.getLogger(__name__)


async def closed(closing: Coroutine[Any, Any, None]) -> None:
    """Await `closing`, 5 s at most, whatever is cancelled meanwhile.

    A disk that is busy with others may take longer. That is logged and not raised: what was acknowledged is written,
    and no caller could do anything about it. `closing` is cancelled then, and has its threads end by themselves.
    """
    try:
        await shielded(closing, within_s=CLOSE_S, name="close the database")
    except TimeoutError:
        _log.warning(
            "the database is not closed after %.0f s; what was acknowledged is in it, and it is closed as soon as it "
            "answers",
            CLOSE_S,
        )
