"""A SQLite store, several processes, and the sudden end of one."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from holdfast import SessionManager
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import record_of

from .killing import assert_nothing_is_lost, killed_after

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """R-STO-3."""
    chance = random.Random(seed)
    url = f"sqlite:///{tmp_path}/sessions.db"
    said = await asyncio.to_thread(killed_after, url, chance.randrange(1, 2000))
    await assert_nothing_is_lost(url, said)


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
    programs = [await asyncio.create_subprocess_exec(sys.executable, program, f"sqlite:///{path}") for _ in range(4)]
    assert [await program.wait() for program in programs] == [0] * 4


@pytest.mark.slow
async def test_a_file_opened_twice_by_one_process_is_not_taken_from_it_by_another(tmp_path: Path) -> None:
    """R-STO-3: the locks of a process on a file all go when it closes any descriptor of it."""
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        await store.put(record_of("before"), expect=0)
        async with SqliteStore.open(path):
            pass
        program = await asyncio.create_subprocess_exec(sys.executable, HERE / "opening_program.py", f"sqlite:///{path}")
        assert await program.wait() == 0
        assert path.with_name("sessions.db-wal").exists()
        await store.put(record_of("after"), expect=0)
        async with SqliteStore.open(path) as other:
            assert await other.get("after") == record_of("after")
