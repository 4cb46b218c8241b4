"""A program that opens a SQLite store and closes it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from holdfast.stores.sqlite import SqliteStore


async def main(path: str) -> None:
    async with SqliteStore.open(Path(path)):
        pass


asyncio.run(main(sys.argv[1]))
