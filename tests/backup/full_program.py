"""A program whose files may not grow beyond a limit, as if the disk were full, and that backs up or restores then.

Says what kept it from doing so.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from holdfast import HoldfastError, open_store
from holdfast.backup import back_up, restore
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, record_of

CLOCK = ManualClock(NOW + 10)


def limit_files(size_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


async def back_up_full(url: str, target: Path) -> None:
    async with open_store(url) as store:
        for at in range(300):
            if await store.get(f"s{at}") is None:
                await store.put(record_of(f"s{at}", metadata=b"x" * 2000), expect=0, durable=False)
        limit_files(200_000)
        await back_up(store, target, clock=CLOCK)


async def main(does: str, url: str, path: Path) -> None:
    try:
        if does == "backup":
            await back_up_full(url, path)
        else:
            limit_files(int(sys.argv[4]))
            await restore(path, url, clock=CLOCK, replace=True)
    except HoldfastError as error:
        print(f"{type(error).__name__}: {error}")


asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
