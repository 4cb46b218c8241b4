"""A program without any power over files but its user's own: opens a SQLite store and says why it cannot.

Root may read and write everything; without its capabilities (capset(2)) permissions count for it as well.
"""

from __future__ import annotations

import asyncio
import ctypes
import struct
import sys
from pathlib import Path

from holdfast import HoldfastError
from holdfast.stores.sqlite import SqliteStore

VERSION = 0x20080522

header = ctypes.create_string_buffer(struct.pack("Ii", VERSION, 0))
ctypes.CDLL(None).capset(header, ctypes.create_string_buffer(24))


async def main(path: Path) -> None:
    try:
        async with SqliteStore.open(path):
            print("opened")
    except HoldfastError as error:
        print(type(error).__name__, error)


asyncio.run(main(Path(sys.argv[1])))
