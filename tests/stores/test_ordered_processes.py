"""A LevelDB or RocksDB store, a second process, and the sudden end of the one."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import Corrupt, open_store
from holdfast.testing.records import record_of

from .engines import ENGINES
from .killing import HERE, assert_nothing_is_lost, killed_after


def ran(*words: str, program: str = "opening_program.py") -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    command = [sys.executable, str(HERE / program), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def damage_the_log(folder: Path) -> None:
    """Change a byte in the middle of the log that holds most."""
    log = max((path for path in folder.iterdir() if path.suffix == ".log"), key=lambda path: path.stat().st_size)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ENGINES)
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, kind: str, seed: int) -> None:
    """R-STO-3."""
    chance = random.Random(seed)
    url = f"{kind}:///{tmp_path}/sessions"
    said = await asyncio.to_thread(killed_after, url, chance.randrange(1, 2000))
    await assert_nothing_is_lost(url, said)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(2, 32))
@pytest.mark.parametrize("kind", ENGINES)
async def test_kill_9_loses_nothing_acknowledged_at_many_points(tmp_path: Path, kind: str, seed: int) -> None:
    """R-STO-3."""
    await test_kill_9_loses_nothing_acknowledged(tmp_path, kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENGINES)
async def test_a_second_process_is_refused_and_harms_nothing(tmp_path: Path, kind: str) -> None:
    """R-STO-3: it belongs to one process at a time, and to the next when that has ended."""
    url = f"{kind}:///{tmp_path}/sessions"
    async with open_store(url) as store:
        await store.put(record_of("s"), expect=0)
        before = names_in(tmp_path / "sessions")
        second = await asyncio.to_thread(ran, url)
        assert "belongs to one process at a time" in second.stderr
        assert f"{tmp_path}/sessions is open already" in second.stderr
        assert names_in(tmp_path / "sessions") == before
        await store.put(record_of("s", version=2), expect=1)
    assert (await asyncio.to_thread(ran, url)).returncode == 0
    async with open_store(url) as store:
        assert await store.get("s") == record_of("s", version=2)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "driver"), [("leveldb", "plyvel"), ("rocksdb", "rocksdict")])
async def test_a_driver_that_is_not_installed_is_told_with_its_extra(tmp_path: Path, kind: str, driver: str) -> None:
    """R-OPS-6: and nothing is made."""
    program = await asyncio.to_thread(ran, f"{kind}:///{tmp_path}/sessions", driver)
    assert f"Misused: {kind}:// needs {driver}, which is not installed" in program.stderr
    assert f"holdfast[{kind}]" in program.stderr
    assert names_in(tmp_path) == set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENGINES)
async def test_a_log_that_is_damaged_in_the_middle_is_told(tmp_path: Path, kind: str) -> None:
    """R-STO-2: to go on without what lies behind the damage would be to lose it without a word."""
    url = f"{kind}:///{tmp_path}/sessions"
    await asyncio.to_thread(killed_after, url, 300)
    damage_the_log(tmp_path / "sessions")
    for _ in range(2):
        with pytest.raises(Corrupt, match="damaged"):
            async with open_store(url):
                pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENGINES)
async def test_a_disk_that_is_full_loses_nothing_acknowledged(tmp_path: Path, kind: str) -> None:
    """R-STO-2: writes are refused, reads go on, and the next to open it has everything."""
    url = f"{kind}:///{tmp_path}/sessions"
    filled = await asyncio.to_thread(ran, url, program="filling_program.py")
    assert filled.returncode == 0, filled.stderr
    count = int(filled.stdout)
    assert count > 100
    async with open_store(url) as store:
        for at in range(count):
            assert await store.get(f"s{at}") is not None
        await store.put(record_of("more"), expect=0)
