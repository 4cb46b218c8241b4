"""A program that opens a store, writes one session and closes it, again and again until its stdin ends.

It says which it was told are written. A store that is being replaced refuses to open, which is right.
"""

from __future__ import annotations

import asyncio
import sys

from holdfast import HoldfastError, open_store
from holdfast.runtime import spawn
from holdfast.testing.records import record_of


async def main(url: str, name: str) -> None:
    ended = spawn(asyncio.to_thread(sys.stdin.read), name="wait for the end")
    number = 0
    while not ended.done():
        number += 1
        try:
            async with open_store(url) as store:
                await store.put(record_of(f"{name}-{number}", timeout=None), expect=0)
                print(f"{name}-{number}", flush=True)
        except HoldfastError:
            await asyncio.sleep(0)


asyncio.run(main(*sys.argv[1:]))
