"""A program that creates, changes and deletes sessions, one of which others change, too, and then says that it ends."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from holdfast import Conflict, Draft, SessionManager


def increment(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
    draft.metadata["n"] += 1
    return draft


async def main(url: str, name: str) -> None:
    async with SessionManager[dict[str, Any]].open(url) as sessions:
        with suppress(Conflict):
            await sessions.create({"n": 0}, id="shared")
        for at in range(50):
            await sessions.create({"n": 0}, id=f"{name}-{at}")
            await sessions.update("shared", increment, sync=False)
            if at % 2:
                await sessions.delete(f"{name}-{at}", sync=False)
        await sessions.create(id=f"end {name}")


asyncio.run(main(*sys.argv[1:]))
