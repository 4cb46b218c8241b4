"""A program that increments one session so many times, beside others that do the same."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from holdfast import Draft, SessionManager

TASKS = 25


def increment(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
    draft.metadata["n"] += 1
    return draft


async def count(sessions: SessionManager[dict[str, Any]], times: int) -> None:
    for _ in range(times):
        await sessions.update("counter", increment)


async def main(path: str, times: int) -> None:
    async with SessionManager[dict[str, Any]].open(f"sqlite:///{path}") as sessions:
        await asyncio.gather(*(count(sessions, times // TASKS) for _ in range(TASKS)))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
