"""A program whose files may not grow beyond a limit for a while: fills a SQLite store, and goes on when there is room.

Says one line each: what kept it, the health then, whether a read works, and whether it went on.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from holdfast import Unavailable
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import record_of

LIMIT_BYTES = 300_000


def limit_files(size_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


async def fill(store: SqliteStore) -> int:
    for at in range(1000):
        try:
            await store.put(record_of(f"s{at}", metadata=b"x" * 2000), expect=0)
        except Unavailable as error:
            print(error)
            return at
    return 1000


async def main(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        limit_files(LIMIT_BYTES)
        count = await fill(store)
        print((await store.info()).health)
        print([await store.get(name) is not None for name in ("s0", f"s{count - 1}", f"s{count}")])
        limit_files(resource.RLIM_INFINITY)
        await store.put(record_of(f"s{count}"), expect=0)
        print((await store.info()).health, await store.get(f"s{count}") == record_of(f"s{count}"))


asyncio.run(main(Path(sys.argv[1])))
