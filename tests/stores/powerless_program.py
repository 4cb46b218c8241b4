"""A program without any power over files but its user's own: opens a store and says why it cannot.

Root may read and write everything; without its capabilities (capset(2)) permissions count for it as well.
"""

from __future__ import annotations

import asyncio
import ctypes
import struct
import sys

from holdfast import HoldfastError, open_store

VERSION = 0x20080522

header = ctypes.create_string_buffer(struct.pack("Ii", VERSION, 0))
ctypes.CDLL(None).capset(header, ctypes.create_string_buffer(24))


async def main(url: str) -> None:
    try:
        async with open_store(url):
            print("opened")
    except HoldfastError as error:
        print(type(error).__name__, error)


asyncio.run(main(sys.argv[1]))
