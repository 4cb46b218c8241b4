"""A program that backs up or restores, and is killed (-9) by itself at one of its calls, whichever thread makes it.

With 0 it is not killed, and says how many calls there were.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from holdfast import open_store
from holdfast.backup import back_up, restore
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW

CLOCK = ManualClock(NOW + 20)


async def main(does: str, url: str, path: Path) -> None:
    if does == "restore":
        await restore(path, url, clock=CLOCK, replace=True, deleted=True)
    else:
        async with open_store(url) as store:
            await back_up(store, path, clock=CLOCK)


does, url, path, at = sys.argv[1:]
calls = itertools.count(1)
last = int(at)


def count(frame: FrameType, event: str, argument: Any) -> None:
    if event in ("call", "c_call") and next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)


threading.setprofile(count)
sys.setprofile(count)
asyncio.run(main(does, url, Path(path)))
sys.setprofile(None)
print(next(calls))
