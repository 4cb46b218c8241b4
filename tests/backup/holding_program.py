"""A program that has a store open, and writes one session when it is told to."""

from __future__ import annotations

import asyncio
import sys

from holdfast import open_store
from holdfast.testing.records import record_of


async def main(url: str) -> None:
    async with open_store(url) as store:
        print("open", flush=True)
        if await asyncio.to_thread(sys.stdin.readline):
            await store.put(record_of("later"), expect=0)
            print("written", flush=True)
            await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main(sys.argv[1]))
