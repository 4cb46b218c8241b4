"""Waiting for a condition that nothing announces, with a bound.

Where something does announce it (an event, a line, a process's end), wait for that instead.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final

import pytest

_LOOK_EVERY_S: Final = 0.005


def eventually(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    """Return as soon as `condition()` is true; fail the test when it is not within `within_s` seconds."""
    end = time.monotonic() + within_s
    never = threading.Event()
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"did not become true within {within_s} s: {condition}")
        never.wait(_LOOK_EVERY_S)


async def eventually_async(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    """Like `eventually`, and let the event loop go on meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not condition():
        if loop.time() > end:
            pytest.fail(f"did not become true within {within_s} s: {condition}")
        look = asyncio.Event()
        loop.call_later(_LOOK_EVERY_S, look.set)
        await look.wait()
