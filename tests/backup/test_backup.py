"""Backups of stores that are in use: of one moment, whole or not there."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import Codec, Corrupt, Draft, KeyRing, Misused, SessionManager, Unavailable, open_store
from holdfast.backup import Made, back_up, check, restore
from holdfast.backup.archive import ArchiveReader
from holdfast.codec import decode
from holdfast.stores import Described, MemoryStore, open_to_dump
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, record_of

from ..kit import LoopWatch
from ..stores.engines import ENGINES
from .making import fill, gathered

HERE = Path(__file__).parent
CLOCK = ManualClock(NOW + 10)
STORES = ["memory", "sqlite", *ENGINES]


def address(kind: str, folder: Path) -> str:
    return "memory://" if kind == "memory" else f"{kind}:///{folder}/sessions"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def raised(draft: Draft[dict[str, int]]) -> Draft[dict[str, int]]:
    draft.metadata["n"] += 1
    return draft


def in_archive(data: bytes) -> tuple[object, ...]:
    source = io.BytesIO(data)
    return gathered(list(ArchiveReader(source.read, "it")))


@pytest.mark.parametrize("kind", STORES)
async def test_a_backup_holds_everything(tmp_path: Path, kind: str) -> None:
    """R-STO-8."""
    told: list[tuple[str, int, int]] = []
    target = tmp_path / "b.hfa"
    async with open_store(address(kind, tmp_path)) as store:
        await fill(store)
        made = await back_up(store, target, clock=CLOCK, progress=lambda *words: told.append(words))
    data = target.read_bytes()
    records, entries, term = in_archive(data)
    assert isinstance(records, dict)
    assert isinstance(entries, list)
    assert (sorted(records), len(entries), term) == (sorted(f"s{at}" for at in range(30)), 2, 1)
    assert made == Made(
        file=str(target),
        kind=kind,
        taken_at=NOW + 10,
        sessions=30,
        entries=2,
        size_bytes=len(data),
        damaged=0,
        named=(),
        lost_entries=0,
    )
    assert ("saving sessions", 30, 0 if kind in ("leveldb", "rocksdb") else 30) in told


async def test_the_file_is_for_its_owner_and_alone(tmp_path: Path) -> None:
    """R-SEC-4."""
    store = MemoryStore()
    for _ in range(2):  # the second takes the place of the first
        await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
        assert names_in(tmp_path) == ["b.hfa"]
    assert (tmp_path / "b.hfa").stat().st_mode & 0o777 == 0o600


async def test_a_stream_gets_the_same(tmp_path: Path) -> None:
    store = MemoryStore()
    await fill(store)
    out = io.BytesIO()
    made = await back_up(store, out, clock=CLOCK)
    await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
    assert out.getvalue() == (tmp_path / "b.hfa").read_bytes()
    assert (made.file, made.size_bytes) == ("-", len(out.getvalue()))


async def test_nothing_but_an_archive_is_replaced(tmp_path: Path) -> None:
    """R-OPS-1: least of all the store itself."""
    path = tmp_path / "sessions.db"
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store)
        for target, told in (
            (path, "no archive of Holdfast; choose another name"),
            (tmp_path, "is a folder"),
            (tmp_path / "none" / "b.hfa", "its folder is not there"),
        ):
            with pytest.raises(Misused, match=told):
                await back_up(store, target, clock=CLOCK)
        assert await store.get("s0") is not None


async def test_a_store_that_cannot_be_dumped_is_refused(tmp_path: Path) -> None:
    class Plain:
        """A store of six methods, none of which is called."""

    with pytest.raises(Misused, match="Plain cannot be backed up"):
        await back_up(Plain(), tmp_path / "b.hfa", clock=CLOCK)  # type: ignore[arg-type]  # it is never asked
    assert names_in(tmp_path) == []


async def test_one_damaged_session_is_left_out_and_told(tmp_path: Path) -> None:
    """R-STO-2, R-SEC-2."""
    path = tmp_path / "sessions.db"
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, 3)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET body = zeroblob(40) WHERE id = 's1'")
        connection.commit()
    async with open_store(f"sqlite:///{path}") as store:
        made = await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
    assert (made.sessions, made.damaged, made.named, made.complete) == (2, 1, ("s1…",), False)


async def test_a_backup_of_nothing_that_can_be_read_takes_no_better_ones_place(tmp_path: Path) -> None:
    """R-STO-8: with the wrong key under the right id every session looks damaged."""
    url, keys = f"sqlite:///{tmp_path / 'sessions.db'}", Codec(keys=KeyRing({"k": bytes(32)}))
    async with open_store(url, codec=keys) as store:
        await fill(store, 3)
        await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
    before = (tmp_path / "b.hfa").read_bytes()
    async with open_store(url, codec=Codec(keys=KeyRing({"k": b"x" * 32}))) as store:
        with pytest.raises(Corrupt, match="none of 3 sessions can be read"):
            await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
    assert (tmp_path / "b.hfa").read_bytes() == before


async def test_pages_that_cannot_be_read_end_it_and_leave_nothing(tmp_path: Path) -> None:
    """R-STO-2."""
    path = tmp_path / "sessions.db"
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, 500)
    content = bytearray(path.read_bytes())
    for page in range(40, len(content) // 4096):
        content[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    path.write_bytes(content)
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(Corrupt, match="damaged"):
            await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
    assert names_in(tmp_path) == ["sessions.db"]


@pytest.mark.parametrize("kind", STORES)
async def test_a_backup_under_load_is_of_one_moment(tmp_path: Path, kind: str) -> None:
    """R-STO-8: of two counters that are raised in turn, the later one is never ahead."""
    async with open_store(address(kind, tmp_path)) as store:
        sessions: SessionManager[dict[str, int]] = SessionManager(store, clock=CLOCK)
        pairs = [(f"z{at}", f"a{at}") for at in range(8)]
        for name in [name for pair in pairs for name in pair] + [f"m{at}" for at in range(1000)]:
            await sessions.create({"n": 0}, id=name)
        ended = asyncio.Event()

        async def raise_in_turn(first: str, second: str) -> None:
            while not ended.is_set():
                for name in (first, second):
                    await sessions.update(
                        name, lambda draft: (draft.metadata.update(n=draft.metadata["n"] + 1), draft)[1]
                    )
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for pair in pairs:
                group.create_task(raise_in_turn(*pair))
            found = []
            for _ in range(5):
                out = io.BytesIO()
                await back_up(store, out, clock=CLOCK)
                found.append(in_archive(out.getvalue())[0])
            ended.set()
    counts = [
        [tuple(decode(records[name].metadata)["n"] for name in pair) for pair in pairs]
        for records in found
        if isinstance(records, dict)
    ]
    assert len(counts) == 5
    assert all(first - second in (0, 1) for backup in counts for first, second in backup), counts
    assert counts[-1] != counts[0], "there was load"


@pytest.mark.parametrize("kind", STORES)
async def test_nobody_waits_for_a_backup(tmp_path: Path, kind: str) -> None:
    """R-PER-5."""
    async with open_store(address(kind, tmp_path)) as store:
        await fill(store, 3000)
        for watch in LoopWatch.rounds():
            with watch:
                await back_up(store, tmp_path / "b.hfa", clock=CLOCK)


async def test_a_reader_that_goes_away_is_told() -> None:
    store = MemoryStore()
    await fill(store, 3000)
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb", buffering=0) as out, pytest.raises(Unavailable, match="Broken pipe"):
        await back_up(store, out, clock=CLOCK)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_of_it(tmp_path: Path) -> None:
    """R-STO-8: nor takes what was there before."""
    target = tmp_path / "b.hfa"
    before = b"\x89HFA\r\n\x1a\nan older one"
    words = ["backup", f"sqlite:///{tmp_path}/s.db", str(target)]
    for _ in range(2):
        program = [sys.executable, str(HERE / "full_program.py"), *words]
        ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
        assert ran.stdout.startswith("Unavailable: "), ran.stderr
        assert "File too large; nothing of it is left" in ran.stdout
        assert not [path for path in tmp_path.iterdir() if ".part-" in path.name]
        assert not target.exists() or target.read_bytes() == before
        target.write_bytes(before)


async def test_a_backup_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
        await fill(store, 3000)
        begun = asyncio.Event()
        making = asyncio.ensure_future(back_up(store, tmp_path / "b.hfa", clock=CLOCK, progress=lambda *_: begun.set()))
        await begun.wait()
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        await store.put(record_of("more"), expect=0)
    assert names_in(tmp_path) == ["sessions.db"]


async def test_a_backup_can_be_checked(tmp_path: Path) -> None:
    store = MemoryStore()
    await fill(store)
    await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
    with (tmp_path / "b.hfa").open("rb") as file:
        checked = await check(file, "b.hfa")
    assert (checked.header.kind, checked.totals.sessions) == ("memory", 30)


@pytest.mark.parametrize("schema", [1, 2])
async def test_a_store_of_an_earlier_schema_is_backed_up_as_it_is(tmp_path: Path, schema: int) -> None:
    """R-STO-8: a backup before an upgrade must not be the upgrade."""
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress((HERE.parent / "stores" / f"schema_{schema}.db.gz").read_bytes()))
    before = path.read_bytes()
    async with open_to_dump(f"sqlite:///{path}") as store:
        made = await back_up(store, tmp_path / "b.hfa", clock=CLOCK)
        assert isinstance(store, Described)
        assert sum((await store.count(0.0)).values()) == made.sessions
    assert path.read_bytes() == before
    done = await restore(tmp_path / "b.hfa", f"sqlite:///{tmp_path}/new.db", clock=CLOCK)
    assert (done.sessions + done.expired, done.entries) == (made.sessions, made.entries)
    assert made.sessions > 0
    assert made.entries > 0
    async with open_store(f"sqlite:///{path}") as upgraded:
        again = await back_up(upgraded, tmp_path / "c.hfa", clock=CLOCK)
    old, new = (in_archive((tmp_path / name).read_bytes()) for name in ("b.hfa", "c.hfa"))
    assert old == new
    assert (again.sessions, again.entries) == (made.sessions, made.entries)


async def test_what_is_opened_to_be_dumped_is_never_made(tmp_path: Path) -> None:
    """R-OPS-1."""
    with pytest.raises(Misused, match="is not there"):
        async with open_to_dump(f"sqlite:///{tmp_path}/none.db"):
            pass
    assert names_in(tmp_path) == []
