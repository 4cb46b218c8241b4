"""Reads what a client sent, of any size, without keeping the event loop from others for long."""

from __future__ import annotations

import asyncio

from ..model.json_bounds import STEP_BYTES, steps_of_check
from ..model.jsonrpc import Message, parse, parse_bounded
from .rules import split_batch


async def read_message(body: bytes) -> Message:
    """Do as `parse`, and give others their turn after every 32 KiB whose brackets must be looked at.

    Raises:
        Misused: As `parse`.
    """
    if len(body) <= STEP_BYTES:
        return parse(body)
    await _check_bounds(body)
    return parse_bounded(body)


async def read_batch(body: bytes) -> list[tuple[Message, bytes]]:
    """Return the messages of a batch, each with its bytes; the bound of the depth counts from the batch's brackets.

    Raises:
        Misused: As `parse` for one of them, or as `split_batch`.
    """
    await _check_bounds(body)
    return [(parse_bounded(part), part) for part in split_batch(body)]


async def _check_bounds(body: bytes) -> None:
    for _ in steps_of_check(body):
        await asyncio.sleep(0)
