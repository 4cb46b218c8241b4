"""Reads a client's message of any size without keeping the event loop from others for long."""

from __future__ import annotations

import asyncio

from ..model.json_bounds import STEP_BYTES, steps_of_check
from ..model.jsonrpc import Message, parse, parse_bounded


async def read_message(body: bytes) -> Message:
    """Do as `parse`, and give others their turn after every 32 KiB whose brackets must be looked at.

    Raises:
        Misused: As `parse`.
    """
    if len(body) <= STEP_BYTES:
        return parse(body)
    for _ in steps_of_check(body):
        await asyncio.sleep(0)
    return parse_bounded(body)
