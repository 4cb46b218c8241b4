"""What a durable write to a SQLite store waits for, proven where no fsync succeeds; and the address that chooses."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from holdfast import Misused, SessionManager, open_store
from holdfast.stores.contract import FeedBounds, JournalBounds, append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import NOW, entry_of, record_of

PROGRAM = Path(__file__).parent / "unsyncable_program.py"
NO_SECCOMP = 77


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def said_by(path: Path, durability: str, *, until: str = "") -> tuple[list[str], str]:
    """Run the program, end it once its stderr holds `until`, and return its lines and its stderr."""
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, path, durability, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert program.stderr is not None
    heard = b""
    while until and until.encode() not in heard and (line := await program.stderr.readline()):
        heard += line
    out, err = await program.communicate(b"\n")
    if program.returncode == NO_SECCOMP:
        pytest.skip("this kernel lets nobody refuse system calls")
    assert program.returncode == 0, err
    return out.decode().splitlines(), (heard + err).decode()


@pytest.mark.slow
async def test_a_durable_write_waits_for_the_disk_by_default(tmp_path: Path) -> None:
    """R-STO-3: where the disk does not sync, nothing is acknowledged."""
    lines, _ = await said_by(tmp_path / "sessions.db", "full")
    assert lines[0].startswith("Unavailable the database did not do it")
    assert lines[1] == "full"


@pytest.mark.slow
async def test_with_an_interval_a_write_does_not_wait_and_a_chore_syncs(tmp_path: Path) -> None:
    """R-STO-3: the chore runs by itself, and again at the end; that it cannot is told."""
    path = tmp_path / "sessions.db"
    lines, log = await said_by(path, "interval", until="make writes power-safe failed")
    assert lines == ["written", "interval"]
    assert "sessions.db-wal could not be synced: Input/output error" in log
    async with SqliteStore.open(path) as store:
        assert await store.get("s") == record_of("s")


@pytest.mark.slow
async def test_off_never_asks_for_a_sync(tmp_path: Path) -> None:
    """R-STO-3: not when the file is made, not when it is closed."""
    path = tmp_path / "sessions.db"
    lines, log = await said_by(path, "off")
    assert (lines, log) == (["written", "off"], "")
    assert names_in(tmp_path) == [path.name]
    async with SqliteStore.open(path) as store:
        assert await store.get("s") == record_of("s")


@pytest.mark.parametrize("durability", ["full", "interval", "off"])
async def test_the_address_chooses_and_the_store_tells(tmp_path: Path, durability: str) -> None:
    """R-STO-3, R-MGR-14."""
    url = f"sqlite:///{tmp_path}/sessions.db?durability={durability}"
    async with SessionManager[dict[str, int]].open(url) as sessions:
        await sessions.create(id="s")
        assert (await sessions.store_info()).durability == durability
    assert names_in(tmp_path) == ["sessions.db"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("durability=best", "durability=best is not known; it is one of full, interval, off"),
        ("durability=", "one of full, interval, off"),
        ("sync=off", r"no parameter 'sync'; it may have durability=full\|interval\|off"),
        ("durability=off&durability=full", "twice"),
    ],
)
async def test_what_an_address_cannot_say_names_what_it_can(tmp_path: Path, query: str, told: str) -> None:
    """R-OPS-6."""
    with pytest.raises(Misused, match=told):
        async with open_store(f"sqlite:///{tmp_path}/sessions.db?{query}"):
            pass
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("act", ["next_term", "trim", "trim_changes"])
async def test_what_a_chore_writes_counts_as_written(tmp_path: Path, act: str) -> None:
    """R-STO-3: else no sync would follow it with an interval, and the log of many of them would never be folded."""
    async with SqliteStore.open(tmp_path / "sessions.db", durability="interval") as store:
        await store.put(record_of("s"), expect=0)
        await append_to(store, "s", 1, [entry_of("a", 0)])
        before = store._written.pages_written
        if act == "next_term":
            await store.next_term()
        elif act == "trim":
            assert await store.trim(JournalBounds(session_entries_max=0), NOW) == 1
        else:
            await store.trim_changes(FeedBounds(), NOW)
        assert store._written.pages_written > before
