"""A program that opens a store and closes it, without the driver that is named after its address."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from holdfast import open_store

modules: dict[str, Any] = sys.modules


async def main(url: str) -> None:
    async with open_store(url):
        pass


for name in sys.argv[2:]:
    modules[name] = None  # importing it fails from now on
asyncio.run(main(sys.argv[1]))
