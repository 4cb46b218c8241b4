"""A program that is killed while it loads a store."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

from holdfast import open_store
from holdfast.stores import Dumped, DumpPage
from holdfast.testing.records import record_of


async def pages() -> AsyncIterator[DumpPage]:
    yield DumpPage(records=[record_of("s")])
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str) -> None:
    async with open_store(url) as store:
        assert isinstance(store, Dumped)
        await store.load(pages())


asyncio.run(main(sys.argv[1]))
