"""What keeps a SQLite store from opening or writing: one sentence that says what to do, and nothing made or changed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from holdfast import Corrupt, Misused, Unavailable
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import record_of
from tests import kit

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


async def write(path: Path, count: int = 1) -> None:
    async with SqliteStore.open(path) as store:
        for at in range(count):
            await store.put(record_of(f"s{at:04}", metadata=b"x" * 1000), expect=0, durable=False)


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def said_by(program: str, path: Path | str) -> list[str]:
    run = subprocess.run(
        [sys.executable, HERE / program, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "file_mode", "folder_mode", "told"),
    [
        (True, 0o400, 0o700, "Misused {path} may not be read and written by this user; change its permissions"),
        (True, 0o000, 0o700, "Misused {path} may not be read and written by this user; change its permissions"),
        (True, 0o600, 0o500, "Misused {folder} may not be written by this user, and SQLite keeps files beside"),
        (False, 0o600, 0o500, "Misused {folder} may not be written by this user, and SQLite keeps files beside"),
        (True, 0o600, 0o000, "Misused {path} cannot be looked at: Permission denied; check the permissions"),
    ],
)
async def test_what_may_not_be_written_is_told(
    tmp_path: Path, there: bool, file_mode: int, folder_mode: int, told: str
) -> None:
    """R-STO-2."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "sessions.db"
    if there:
        await write(path)
        path.chmod(file_mode)
    before = contents_of(folder) if os.geteuid() == 0 else None
    folder.chmod(folder_mode)
    try:
        (line,) = await asyncio.to_thread(said_by, "powerless_program.py", f"sqlite:///{path}")
    finally:
        folder.chmod(0o700)
    assert line.startswith(told.format(path=path, folder=folder))
    assert before in (None, contents_of(folder))


async def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """R-STO-2."""
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for path, told in (
        (folder, "is a folder; name a file in it"),
        (pipe, "is not a regular file; choose another one"),
        (folder / "none" / "sessions.db", "its folder .*none is not there; make it"),
        (pipe / "sessions.db", "cannot be looked at: Not a directory"),
    ):
        with pytest.raises(Misused, match=told):
            async with SqliteStore.open(path):
                pass
    assert list(folder.iterdir()) == []


@pytest.mark.slow
async def test_a_full_disk_is_told_and_the_store_goes_on_when_there_is_room(path: Path) -> None:
    """R-STO-2: a limit on the size of its files stands for the disk; what was acknowledged can be read meanwhile."""
    error, health, reads, after = await asyncio.to_thread(said_by, "limited_program.py", path)
    assert error.startswith("the database did not do it: disk I/O error")
    assert health == error
    assert reads == "[True, True, False]"
    assert after == "ok True"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("only who may mount has a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_disk_that_is_full_is_told_and_the_store_goes_on_when_there_is_room(small_disk: Path) -> None:
    """R-STO-2: nothing of a write that failed is there, and all of what was acknowledged."""
    path, other = small_disk / "sessions.db", small_disk / "other"
    fill(other, 1_000_000)
    async with SqliteStore.open(path) as store:
        names = (f"s{at}" for at in range(1000))
        kept = []
        with pytest.raises(
            Unavailable, match=r"the disk is full; make room: nothing was written; .* goes on by itself"
        ):
            for name in names:
                await store.put(record_of(name, metadata=b"x" * 2000), expect=0)
                kept.append(name)
        failed = f"s{len(kept)}"
        assert (await store.info()).health.startswith("the disk is full")
        assert await store.get(kept[-1]) is not None
        assert await store.get(failed) is None
        other.unlink()
        await store.put(record_of(failed, metadata=b"x" * 2000), expect=0)
        assert (await store.info()).health == "ok"
    async with SqliteStore.open(path) as store:
        for name in (*kept, failed):
            assert await store.get(name) is not None


async def test_no_store_is_made_on_a_full_disk(small_disk: Path) -> None:
    """R-STO-2."""
    fill(small_disk / "other", 2**22)
    with pytest.raises(Unavailable, match="cannot be opened: the disk is full; make room and open it again"):
        async with SqliteStore.open(small_disk / "sessions.db"):
            pass


def fill(path: Path, size_bytes: int) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for _ in range(0, size_bytes, 4096):
            file.write(b"x" * 4096)


async def test_what_is_in_a_log_that_was_cut_is_lost_and_nothing_else(path: Path) -> None:
    """R-STO-2: SQLite takes the log up to the last commit that is whole."""
    async with SqliteStore.open(path) as store:
        for at in range(20):
            await store.put(record_of(f"s{at}"), expect=0)
        files = contents_of(path.parent)
    copy = path.with_name("copy.db")
    log = files["sessions.db-wal"]
    copy.write_bytes(files["sessions.db"])
    copy.with_name("copy.db-wal").write_bytes(log[: len(log) - 5000])
    async with SqliteStore.open(copy) as store:
        found = [await store.get(f"s{at}") for at in range(20)]
        kept = sum(record is not None for record in found)
        assert 15 < kept < 20
        assert found == [record_of(f"s{at}") for at in range(kept)] + [None] * (20 - kept)
        await store.put(record_of("s19"), expect=0)
        assert (await store.info()).health == "ok"


async def test_without_its_log_a_store_is_what_was_folded_last(path: Path) -> None:
    """R-STO-2: and the index of the log that is gone is not believed."""
    await write(path)
    async with SqliteStore.open(path) as store:
        await store.put(record_of("late"), expect=0)
        files = contents_of(path.parent)
    copy = path.with_name("copy.db")
    copy.write_bytes(files["sessions.db"])
    copy.with_name("copy.db-shm").write_bytes(files["sessions.db-shm"])
    async with SqliteStore.open(copy) as store:
        assert await store.get("s0000") is not None
        assert await store.get("late") is None
        await store.put(record_of("late"), expect=0)
    async with SqliteStore.open(copy) as store:
        assert await store.get("late") == record_of("late")


def overwrite_page_of(path: Path, words: bytes) -> None:
    content = bytearray(path.read_bytes())
    page = content.index(words, content.index(b"x" * 900)) // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)


async def test_damage_is_found_in_the_background_and_says_what_to_run(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-STO-3: the store is open before anybody has looked, and stays so."""
    await write(path, 400)
    overwrite_page_of(path, b"s0200")
    async with SqliteStore.open(path) as store:
        await kit.eventually_async(lambda: "is damaged" in caplog.text)
        info = await store.info()
        assert f"`holdfast store check sqlite:///{path}`" in info.health
        assert f"`holdfast store repair sqlite:///{path}`" in info.health
        assert await store.get("s0000") is not None
    assert [record.levelname for record in caplog.records if "is damaged" in record.getMessage()] == ["ERROR"]


async def test_closing_does_not_wait_for_the_look_at_a_large_file(path: Path) -> None:
    """R-MGR-15: whatever was looked at, nothing lies beside the file afterwards."""
    await write(path, 5000)
    for _ in range(10):
        async with SqliteStore.open(path):
            pass
        assert list(contents_of(path.parent)) == [path.name]


async def test_a_file_whose_schema_is_damaged_says_what_to_run(path: Path) -> None:
    """R-STO-2."""
    await write(path)
    content = contents_of(path.parent)[path.name]
    await asyncio.to_thread(path.write_bytes, content[:100] + b"\xa5" * 50 + content[150:])
    before = contents_of(path.parent)
    with pytest.raises(Corrupt, match=r"is damaged: .*holdfast store repair"):
        async with SqliteStore.open(path):
            pass
    assert contents_of(path.parent) == before
