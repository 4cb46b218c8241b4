"""What a store has of what it acknowledged when the process that used it was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from holdfast import SessionManager, open_store
from holdfast.stores.contract import Feed, Journal, Query, Store

HERE = Path(__file__).parent


def killed_after(url: str, lines: int) -> list[list[Any]]:
    """Start the writing program, kill -9 it once it acknowledged `lines` acts; return what it acknowledged."""
    program = subprocess.Popen([sys.executable, HERE / "writing_program.py", url], stdout=subprocess.PIPE)
    assert program.stdout is not None
    said = [program.stdout.readline() for _ in range(lines)]
    program.send_signal(signal.SIGKILL)
    said += program.stdout.readlines()
    program.stdout.close()
    program.wait(60)
    return [json.loads(line) for line in said if line.endswith(b"\n")]


async def assert_nothing_is_lost(url: str, said: list[list[Any]]) -> None:
    """Check that the store has what was said, and no more than what was under way."""
    deleted = {name for kind, name, *_ in said if kind == "deleted"}
    counts = {name: count for kind, name, *rest in said for count in rest if kind == "session"}
    journals = {name: seq for kind, name, *rest in said for seq in rest if kind == "journal"}
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        sessions: SessionManager[dict[str, int]] = SessionManager(store)
        for name, count in counts.items():
            if name in deleted:
                assert await store.get(name) is None
            elif "-" not in name:
                assert (await sessions.peek(name)).metadata["n"] in (count, count + 1)
            elif await store.get(name) is None:
                # Only the one whose deletion was under way may be gone.
                assert name == [each for each in counts if each.startswith(name.split("-")[0])][-1]
        for name, last in journals.items():
            entries = [entry async for entry in journal(store, name)]
            assert entries == list(range(len(entries)))
            assert len(entries) in (last + 1, last + 3)
        await assert_the_feed_says_what_is_there(store)


async def assert_the_feed_says_what_is_there(store: Store) -> None:
    """Check that every version of what is stored is in the feed, and nothing else lives by what the feed says."""
    assert isinstance(store, Feed)
    told: dict[str, list[int]] = {}
    cursor: str | None = None
    while True:
        page = await store.changes(after=cursor)
        for change in page.changes:
            if change.kind.is_end:
                del told[change.record.id]
            else:
                told.setdefault(change.record.id, []).append(change.record.version)
        cursor = page.cursor
        if page.is_end:
            break
    stored: dict[str, int] = {}
    cursor = None
    while True:
        found = await store.scan(Query(), cursor=cursor)
        stored |= {record.id: record.version for record in found.records}
        cursor = found.cursor
        if cursor is None:
            break
    assert told == {name: list(range(1, version + 1)) for name, version in stored.items()}


async def journal(store: Journal, name: str) -> AsyncIterator[int]:
    """Yield the sequence numbers of the stream that the writing program writes."""
    after = (0, -1)
    while page := await store.read(name, "s", after=after):
        for entry in page:
            yield entry.seq
        after = (page[-1].term, page[-1].seq)
