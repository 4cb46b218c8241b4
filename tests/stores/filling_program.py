"""A program that writes until it may write no more, as if the disk were full, and says how many records it put."""

from __future__ import annotations

import asyncio
import resource
import sys

from holdfast import Unavailable, open_store
from holdfast.testing.records import record_of

FILE_BYTES_MAX = 2 * 2**20


async def main(url: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, most))
    async with open_store(url) as store:
        for at in range(10_000):
            try:
                await store.put(record_of(f"s{at}", metadata=b"x" * 5000), expect=0, durable=at % 10 == 0)
            except Unavailable:
                assert await store.get("s0") is not None
                sys.stdout.write(str(at))
                return


asyncio.run(main(sys.argv[1]))
