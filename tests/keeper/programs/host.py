"""A server to be killed: `host.py DATA HABIT` starts one worker, says its pid and its first message, and stays."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ..habits import opened, spawned


async def main() -> None:
    data = Path(sys.argv[1])
    async with opened(data, sys.argv[2]) as workers:
        worker, heard = await spawned(workers, data / "one")
        await heard.frames_reach(1)
        print(worker.pid, heard.frames[0].decode(), flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
