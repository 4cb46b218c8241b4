"""A SQLite store, several processes, and the sudden end of one."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import SessionManager
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import record_of

HERE = Path(__file__).parent


def killed_after(path: Path, lines: int) -> list[list[Any]]:
    """Start the writing program, kill -9 it once it acknowledged `lines` acts; return what it acknowledged."""
    program = subprocess.Popen([sys.executable, HERE / "writing_program.py", path], stdout=subprocess.PIPE)
    assert program.stdout is not None
    said = [program.stdout.readline() for _ in range(lines)]
    program.send_signal(signal.SIGKILL)
    said += program.stdout.readlines()
    program.stdout.close()
    program.wait(60)
    return [json.loads(line) for line in said if line.endswith(b"\n")]


async def assert_nothing_is_lost(path: Path, said: list[list[Any]]) -> None:
    deleted = {name for kind, name, *_ in said if kind == "deleted"}
    counts = {name: count for kind, name, *rest in said for count in rest if kind == "session"}
    journals = {name: seq for kind, name, *rest in said for seq in rest if kind == "journal"}
    async with SqliteStore.open(path) as store:
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


async def journal(store: SqliteStore, name: str) -> Any:
    after = (0, -1)
    while page := await store.read(name, "s", after=after):
        for entry in page:
            yield entry.seq
        after = (page[-1].term, page[-1].seq)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """R-STO-3."""
    chance = random.Random(seed)
    path = tmp_path / "sessions.db"
    said = await asyncio.to_thread(killed_after, path, chance.randrange(1, 2000))
    await assert_nothing_is_lost(path, said)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(4, 60))
async def test_kill_9_loses_nothing_acknowledged_at_many_points(tmp_path: Path, seed: int) -> None:
    """R-STO-3."""
    await test_kill_9_loses_nothing_acknowledged(tmp_path, seed)


@pytest.mark.slow
async def test_increments_of_several_processes_all_count(tmp_path: Path) -> None:
    """R-MGR-4, R-STO-3."""
    path = tmp_path / "sessions.db"
    async with SessionManager[dict[str, int]].open(f"sqlite:///{path}") as sessions:
        await sessions.create({"n": 0}, id="counter")
        programs = [
            await asyncio.create_subprocess_exec(sys.executable, HERE / "counting_program.py", path, "2500")
            for _ in range(4)
        ]
        assert [await program.wait() for program in programs] == [0] * 4
        assert (await sessions.get("counter")).metadata == {"n": 10_000}


@pytest.mark.slow
async def test_several_processes_may_make_the_same_file(tmp_path: Path) -> None:
    """R-STO-3."""
    path = tmp_path / "sessions.db"
    program = HERE / "opening_program.py"
    programs = [await asyncio.create_subprocess_exec(sys.executable, program, path) for _ in range(4)]
    assert [await program.wait() for program in programs] == [0] * 4


@pytest.mark.slow
async def test_a_file_opened_twice_by_one_process_is_not_taken_from_it_by_another(tmp_path: Path) -> None:
    """R-STO-3: the locks of a process on a file all go when it closes any descriptor of it."""
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        await store.put(record_of("before"), expect=0)
        async with SqliteStore.open(path):
            pass
        program = await asyncio.create_subprocess_exec(sys.executable, HERE / "opening_program.py", path)
        assert await program.wait() == 0
        assert path.with_name("sessions.db-wal").exists()
        await store.put(record_of("after"), expect=0)
        async with SqliteStore.open(path) as other:
            assert await other.get("after") == record_of("after")
