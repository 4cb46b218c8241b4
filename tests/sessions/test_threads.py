"""Threads that change one session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from holdfast import Draft, SessionManager

Sessions = SessionManager[dict[str, Any]]

THREADS = 4
EACH = 100


def increment(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
    draft.metadata["n"] += 1
    return draft


async def test_no_update_of_any_thread_is_lost(sessions: Sessions) -> None:
    """R-MGR-4: they ask the loop whose manager it is."""
    await sessions.create({"n": 0}, id="s")
    loop = asyncio.get_running_loop()

    def count_up() -> None:
        for _ in range(EACH):
            asyncio.run_coroutine_threadsafe(sessions.update("s", increment, sync=False), loop).result(60)

    await asyncio.gather(*(asyncio.to_thread(count_up) for _ in range(THREADS)))
    assert (await sessions.peek("s")).metadata == {"n": THREADS * EACH}


async def test_no_update_of_managers_in_several_threads_is_lost(tmp_path: Path) -> None:
    """R-MGR-4: each has a loop, a store and a manager of its own, on one file."""
    url = f"sqlite:///{tmp_path}/sessions.db"

    async def count_up() -> None:
        async with Sessions.open(url) as sessions:
            for _ in range(EACH):
                await sessions.update("s", increment, sync=False)

    async with Sessions.open(url) as sessions:
        await sessions.create({"n": 0}, id="s")
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, count_up()) for _ in range(THREADS)))
        assert (await sessions.peek("s")).metadata == {"n": THREADS * EACH}
