"""Messages of any size are read without keeping the event loop from others."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.model import Misused
from holdfast.model.json_bounds import STEP_BYTES
from holdfast.transport.reading import read_message


def message(params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"a","params":%s}' % params


@pytest.mark.parametrize("params", [b"{}", b'{"x":"%s"}' % (b"y" * 1_000_000)])
async def test_a_message_is_read_whatever_its_size(params: bytes) -> None:
    assert (await read_message(message(params))).method == "a"


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_message_nested_too_deep_is_refused_whatever_its_size(size: int) -> None:
    """R-SEC-3."""
    with pytest.raises(Misused):
        await read_message(message(b'{"x":"%s","y":%s}' % (b"x" * size, b"[" * 70 + b"]" * 70)))


async def test_others_have_their_turn_while_a_hostile_message_is_read() -> None:
    """R-PER-5: its brackets are looked at in steps."""
    body = message(b'{"x":[%s1]}' % (b"[]," * 300_000))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)

    reading = asyncio.ensure_future(read_message(body))
    await others()
    assert reading.result().id == 1
    assert turns >= len(body) // STEP_BYTES
