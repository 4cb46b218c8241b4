"""A program for which no fsync succeeds: writes to a SQLite store and says what came of it.

The kernel refuses it every fsync and fdatasync with EIO (seccomp(2)), from the beginning or once the store is open.
"""

from __future__ import annotations

import asyncio
import ctypes
import platform
import struct
import sys
from pathlib import Path

from holdfast import HoldfastError
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import record_of

# The numbers of seccomp, fsync and fdatasync (the kernel's tables of system calls).
SECCOMP, FSYNC, FDATASYNC = {"x86_64": (317, 74, 75), "aarch64": (277, 82, 83)}[platform.machine()]
NO_NEW_PRIVS, SET_MODE_FILTER, ALL_THREADS = 38, 1, 1
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE_WITH_EIO = 0x7FFF0000, 0x00050000 | 5


def refuse_to_sync() -> None:
    steps = [
        (LOAD, 0, 0, 0),
        (EQUALS, 1, 0, FSYNC),
        (EQUALS, 0, 1, FDATASYNC),
        (RETURN, 0, 0, REFUSE_WITH_EIO),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(SECCOMP, SET_MODE_FILTER, ALL_THREADS, program):
        sys.exit(77)


async def main(path: Path, durability: str) -> None:
    if durability == "off":
        refuse_to_sync()
    async with SqliteStore.open(path, durability=durability, safe_every_s=0.05) as store:  # type: ignore[arg-type] # it is one of the three
        # The first write of a log syncs its head, whatever is wanted.
        await store.put(record_of("first"), expect=0, durable=False)
        refuse_to_sync()
        try:
            await store.put(record_of("s"), expect=0)
            print("written", flush=True)
        except HoldfastError as error:
            print(type(error).__name__, error, flush=True)
        print((await store.info()).durability, flush=True)
        await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
