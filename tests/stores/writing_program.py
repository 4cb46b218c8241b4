"""A program that writes until it is killed: says on stdout what was acknowledged, one JSON line each."""

from __future__ import annotations

import asyncio
import json
import sys

from holdfast import Draft, SessionManager, open_store
from holdfast.stores.contract import Entry, Journal, Kind, Store, append_to
from holdfast.testing.records import record_of


def say(*words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def increment(draft: Draft[dict[str, int]]) -> Draft[dict[str, int]]:
    draft.metadata["n"] += 1
    return draft


async def write(store: Store, name: str) -> None:
    assert isinstance(store, Journal)
    sessions: SessionManager[dict[str, int]] = SessionManager(store)
    await sessions.create({"n": 0}, id=name, timeout=None)
    say("session", name, 0)
    for at in range(1_000_000):
        updated = await sessions.update(
            name, lambda draft: (draft.metadata.update(n=draft.metadata["n"] + 1), draft)[1]
        )
        say("session", name, updated.metadata["n"])
        await append_to(
            store, name, 1, [Entry("s", 1, seq, Kind.MESSAGE, 0.0, b"x" * 50) for seq in (2 * at, 2 * at + 1)]
        )
        say("journal", name, 2 * at + 1)
        extra = f"{name}-{at}"
        await store.put(record_of(extra, timeout=None), expect=0, durable=at % 2 == 0)
        say("session", extra, 0)
        if at % 3 == 0:
            await sessions.delete(extra)
            say("deleted", extra)


async def main(url: str) -> None:
    async with open_store(url) as store, asyncio.TaskGroup() as group:
        for at in range(4):
            group.create_task(write(store, f"w{at}"))


asyncio.run(main(sys.argv[1]))
