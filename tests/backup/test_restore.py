"""Restores: everything is checked before anything is changed, and then it is the old store or the new one."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Conflict, Corrupt, Misused, SessionManager, open_store
from holdfast.backup import back_up, restore
from holdfast.backup.archive import ArchiveWriter, Header
from holdfast.stores import Dumped, DumpedEntry, DumpPage, Journal, MemoryStore
from holdfast.stores.ordered import OrderedStore
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, entry_of, record_of

from ..kit import LoopWatch
from ..stores.engines import ENGINES
from .making import backed_up, contents, fill, filled, paged
from .test_backup import names_in

HERE = Path(__file__).parent
KINDS = ["sqlite", *ENGINES]
LATER = ManualClock(NOW + 20)


def url_in(folder: Path, kind: str = "sqlite", name: str = "sessions") -> str:
    return f"{kind}:///{folder}/{name}"


def digest(folder: Path) -> dict[str, str]:
    """Return a digest of every file under a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ran(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this folder to its end."""
    command = [sys.executable, str(HERE / program), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def holder(url: str) -> subprocess.Popen[str]:
    """Start a program that has a store open."""
    program = [sys.executable, str(HERE / "holding_program.py"), url]
    holding = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holding.stdout is not None
    assert holding.stdout.readline() == "open\n"
    return holding


def killed_holder(url: str) -> None:
    """Have a session written by a program that is killed then."""
    with holder(url) as holding:
        assert holding.stdin is not None
        assert holding.stdout is not None
        holding.stdin.write("write\n")
        holding.stdin.flush()
        assert holding.stdout.readline() == "written\n"
        holding.kill()


async def made_two(folder: Path, kind: str) -> Path:
    """Make a store of 5 sessions, and a backup of another one with 30; return the backup."""
    await filled(url_in(folder, kind, "first"))
    await backed_up(url_in(folder, kind, "first"), folder / "b.hfa")
    await filled(url_in(folder, kind), 5, owner="old")
    return folder / "b.hfa"


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_backup_of_any_store_becomes_any_store(tmp_path: Path, kind: str, into: str) -> None:
    """R-STO-8: its idle clocks start again, and terms go on far above all that were given out."""
    await filled(url_in(tmp_path, kind))
    await backed_up(url_in(tmp_path, kind), tmp_path / "b.hfa")
    done = await restore(tmp_path / "b.hfa", url_in(tmp_path, into, "new"), clock=LATER)
    assert (done.kind, done.taken_at, done.sessions, done.entries) == (kind, NOW + 10, 30, 2)
    assert (done.expired, done.deleted, done.damaged, done.kept) == (0, 0, 0, "")
    before, after = await contents(url_in(tmp_path, kind)), await contents(url_in(tmp_path, into, "new"))
    assert {name: record.metadata for name, record in before[0].items()} == {
        name: record.metadata for name, record in after[0].items()
    }
    assert {record.last_accessed for record in after[0].values()} == {NOW + 20}
    assert (before[1], after[2]) == (after[1], before[2] + 1_000_000)
    assert names_in(tmp_path) == sorted(["b.hfa", "new", "sessions"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_with_sessions_is_replaced_when_that_is_asked_for_and_kept_aside(
    tmp_path: Path, kind: str
) -> None:
    """R-STO-8."""
    backup = await made_two(tmp_path, kind)
    url = url_in(tmp_path, kind)
    async with open_store(url) as store:
        assert isinstance(store, Journal)
        terms = [await store.next_term() for _ in range(9)]
    before = await contents(url)
    with pytest.raises(Misused, match="has 5 sessions; add --replace"):
        await restore(backup, url, clock=LATER)
    assert await contents(url) == before
    assert names_in(tmp_path) == ["b.hfa", "first", "sessions"]
    done = await restore(backup, url, clock=LATER, replace=True, deleted=True)
    assert (done.sessions, done.kept) == (30, str(tmp_path / "sessions.replaced-1"))
    assert await contents(url_in(tmp_path, kind, "sessions.replaced-1")) == before
    records, _, term = await contents(url)
    assert (len(records), {record.owner for record in records.values()}) == (30, {None})
    assert term == max(terms) + 1_000_000
    assert (tmp_path / "sessions").stat().st_mode & 0o077 == 0
    again = await restore(backup, url, clock=LATER, replace=True, deleted=True)
    assert again.kept.endswith("sessions.replaced-2")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_without_sessions_is_replaced_as_if_none_were_there(tmp_path: Path, kind: str) -> None:
    """R-STO-8: but the terms it gave out are given out no more."""
    await filled(url_in(tmp_path, kind, "first"))
    await backed_up(url_in(tmp_path, kind, "first"), tmp_path / "b.hfa")
    async with open_store(url_in(tmp_path, kind)) as store:
        assert isinstance(store, Journal)
        for _ in range(9):
            term = await store.next_term()
    done = await restore(tmp_path / "b.hfa", url_in(tmp_path, kind), clock=LATER)
    assert (done.sessions, done.kept) == (30, "")
    assert (await contents(url_in(tmp_path, kind)))[2] == term + 1_000_000
    assert names_in(tmp_path) == ["b.hfa", "first", "sessions"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_empty_file_or_folder_is_no_store_yet(tmp_path: Path, kind: str) -> None:
    """R-STO-8: as a mount, or what somebody made to set its owner."""
    await backed_up("memory://", tmp_path / "b.hfa")
    place = tmp_path / "sessions"
    if kind == "sqlite":
        place.touch(0o640)
    else:
        place.mkdir()
    assert (await restore(tmp_path / "b.hfa", url_in(tmp_path, kind), clock=LATER)).kept == ""
    assert (await contents(url_in(tmp_path, kind)))[2] == 1_000_000
    assert names_in(tmp_path) == ["b.hfa", "sessions"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_deleted_or_terminated_since_stays_gone_unless_chosen(tmp_path: Path, kind: str) -> None:
    """R-MGR-10."""
    url = url_in(tmp_path, kind)
    clock = ManualClock(NOW + 5)
    async with open_store(url) as store:
        sessions: SessionManager[dict[str, int]] = SessionManager(store, clock=clock)
        for name in ("stays", "deleted", "ended", "another", "idle"):
            await sessions.create({"n": 1}, id=name, timeout=15 if name == "idle" else 1000)
        await back_up(store, tmp_path / "b.hfa", clock=clock)
        clock.advance(1)
        await sessions.delete("deleted")
        await sessions.delete("another")
        await sessions.create({"n": 2}, id="another")
        await sessions.terminate("ended")
        await sessions.update("stays", lambda draft: (draft.metadata.update(n=2), draft)[1])
    clock.advance(100)
    done = await restore(tmp_path / "b.hfa", url, clock=clock, replace=True)
    assert (done.sessions, done.deleted) == (1, 4)
    assert set((await contents(url))[0]) == {"stays"}
    await restore(tmp_path / "b.hfa", url, clock=clock, replace=True, deleted=True)
    assert set((await contents(url))[0]) == {"stays", "deleted", "ended", "another", "idle"}


async def test_ends_that_had_come_are_final_and_idle_clocks_start_again(tmp_path: Path) -> None:
    """R-MGR-3, R-MGR-10."""
    url = url_in(tmp_path)
    async with open_store(url_in(tmp_path, name="first")) as store:
        kinds: dict[str, dict[str, Any]] = {
            "idle": {"timeout": 100.0},
            "expired then": {"timeout": 10.0},
            "used by others perhaps": {"timeout": 16.0},
            "aged then": {"max_age": 10.0, "timeout": None},
            "aged since": {"max_age": 5000.0, "timeout": None},
            "never": {"timeout": None},
            "at once": {"timeout": 0.0},
            "ended": {"state": "terminated", "timeout": 86_400.0},
            "ended long ago": {"state": "terminated", "timeout": 100.0},
        }
        for name, fields in kinds.items():
            await store.put(record_of(name, **fields), expect=0)
        await back_up(store, tmp_path / "b.hfa", clock=ManualClock(NOW + 20))
    done = await restore(tmp_path / "b.hfa", url, clock=ManualClock(NOW + 10_000))
    records = (await contents(url))[0]
    assert set(records) == {"idle", "used by others perhaps", "never", "ended"}
    assert records["idle"].deadline == NOW + 10_100
    assert records["ended"].last_accessed == NOW
    assert (done.sessions, done.expired) == (4, 5)


async def test_damage_anywhere_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    """R-STO-8."""
    backup = await made_two(tmp_path, "sqlite")
    whole = backup.read_bytes()
    before = digest(tmp_path)
    url = url_in(tmp_path)

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    @settings(max_examples=60)
    def refuse(at: int, mask: int) -> None:
        data = bytearray(whole)
        data[at] ^= mask
        with pytest.raises((Corrupt, Misused)):
            asyncio.run(restore(io.BytesIO(bytes(data)), url, clock=LATER, replace=True))

    await asyncio.to_thread(refuse)
    for end in range(0, len(whole), 97):
        with pytest.raises((Corrupt, Misused)):
            await restore(io.BytesIO(whole[:end]), url, clock=LATER, replace=True)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_damage_is_refused_by_every_store(tmp_path: Path, kind: str) -> None:
    """R-STO-8."""
    backup = await made_two(tmp_path, kind)
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    backup.write_bytes(content)
    before = digest(tmp_path)
    with pytest.raises(Corrupt, match=r"b\.hfa is damaged: .* at byte"):
        await restore(backup, url_in(tmp_path, kind), clock=LATER, replace=True)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_an_archive_that_holds_something_twice_is_refused(tmp_path: Path, kind: str) -> None:
    """R-STO-8: though each of its blocks is sound; what was begun is taken away again."""
    entries = [DumpedEntry("s", number, entry_of("a", 0)) for number in (1, 2)]
    for pages in (
        [DumpPage(records=[record_of("s")]), DumpPage(records=[record_of("s")])],
        [DumpPage(records=[record_of("s")], entries=entries)],
    ):
        out = io.BytesIO()
        writer = ArchiveWriter(out.write, Header(kind="memory", schema=0, made_by="", taken_at=NOW))
        for page in pages:
            writer.add(page)
        writer.end()
        out.seek(0)
        with pytest.raises(Corrupt, match="twice"):
            await restore(out, url_in(tmp_path, kind), clock=LATER)
        assert names_in(tmp_path) == []


async def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    """R-OPS-1."""
    url = url_in(tmp_path)
    with pytest.raises(Misused, match="cannot be read: No such file"):
        await restore(tmp_path / "none", url, clock=LATER)
    with pytest.raises(Misused, match="cannot be read: Is a directory"):
        await restore(tmp_path, url, clock=LATER)
    with pytest.raises(Misused, match="is no archive"):
        await restore(io.BytesIO(b"x" * 100), url, clock=LATER)
    with pytest.raises(Misused, match="names no store in a file"):
        await restore(io.BytesIO(b""), "memory://", clock=LATER)
    out = io.BytesIO()
    ArchiveWriter(out.write, Header(kind="memory", schema=0, made_by="", taken_at=NOW, scope="snapshot")).end()
    out.seek(0)
    with pytest.raises(Misused, match="is a snapshot, not a backup"):
        await restore(out, url, clock=LATER)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_places_where_no_store_can_be_are_refused(tmp_path: Path, kind: str) -> None:
    """R-OPS-1."""
    out = tmp_path / "b.hfa"
    await back_up(MemoryStore(), out, clock=LATER)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = digest(tmp_path)
    for name in ("folder", "file", "none/sessions"):
        with pytest.raises(Misused):
            await restore(out, url_in(tmp_path, kind, name), clock=LATER, replace=True, deleted=True)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_is_open_is_not_replaced(tmp_path: Path, kind: str) -> None:
    """R-STO-8: and whoever has it open goes on."""
    backup = await made_two(tmp_path, kind)
    url = url_in(tmp_path, kind)
    holding = await asyncio.to_thread(holder, url)
    with pytest.raises(Conflict, match=r"has .*sessions open; stop the server first"):
        await restore(backup, url, clock=LATER, replace=True)
    out, _ = await asyncio.to_thread(holding.communicate, "write\n")
    assert (out, holding.returncode) == ("written\n", 0)
    assert "later" in (await contents(url))[0]
    assert names_in(tmp_path) == ["b.hfa", "first", "sessions"]


@pytest.mark.parametrize("kind", KINDS)
async def test_two_restores_at_once_do_not_meet(tmp_path: Path, kind: str) -> None:
    backup = await made_two(tmp_path, kind)
    begun = threading.Event()
    go_on = threading.Event()

    def wait(what: str, done: int, total: int) -> None:
        if what == "restoring":
            begun.set()
            go_on.wait(30)

    def first() -> None:
        asyncio.run(restore(backup, url_in(tmp_path, kind), clock=LATER, replace=True, progress=wait))

    restoring = threading.Thread(target=first)
    restoring.start()
    await asyncio.to_thread(begun.wait, 30)
    with pytest.raises(Conflict, match="being restored already"):
        await restore(backup, url_in(tmp_path, kind), clock=LATER, replace=True)
    go_on.set()
    await asyncio.to_thread(restoring.join)
    assert len((await contents(url_in(tmp_path, kind)))[0]) == 5


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pipe_is_saved_and_checked_first(tmp_path: Path, kind: str) -> None:
    """R-STO-8: and nothing is left of what was saved."""
    await filled(url_in(tmp_path, kind, "first"))
    await backed_up(url_in(tmp_path, kind, "first"), tmp_path / "b.hfa")
    ours, theirs = os.pipe()

    def send() -> None:
        with os.fdopen(theirs, "wb") as pipe:
            pipe.write((tmp_path / "b.hfa").read_bytes())

    sending = threading.Thread(target=send)
    sending.start()
    with os.fdopen(ours, "rb") as pipe:
        done = await restore(pipe, url_in(tmp_path, kind), clock=LATER)
    sending.join()
    assert done.sessions == 30
    assert names_in(tmp_path) == ["b.hfa", "first", "sessions"]


async def test_a_damaged_store_is_replaced_when_everything_is_wanted(tmp_path: Path) -> None:
    """R-STO-2: what was deleted since cannot be known, so it must be said."""
    backup = await made_two(tmp_path, "sqlite")
    path = tmp_path / "sessions"
    content = bytearray(path.read_bytes())
    content[200:4096] = b"\xff" * 3896
    path.write_bytes(content)
    with pytest.raises(Misused, match=r"is damaged .*; add --replace"):
        await restore(backup, url_in(tmp_path), clock=LATER)
    with pytest.raises(Misused, match="nobody knows which sessions were deleted since the backup; add --deleted"):
        await restore(backup, url_in(tmp_path), clock=LATER, replace=True)
    assert path.read_bytes() == content
    done = await restore(backup, url_in(tmp_path), clock=LATER, replace=True, deleted=True)
    assert done.kept == f"{path}.replaced-1"
    assert path.with_name("sessions.replaced-1").read_bytes() == content
    assert len((await contents(url_in(tmp_path)))[0]) == 30


async def test_a_store_with_one_damaged_session_wants_that_said_too(tmp_path: Path) -> None:
    """R-STO-2: where only its record says which session it is, as an earlier version wrote it."""
    await filled(url_in(tmp_path))
    await backed_up(url_in(tmp_path), tmp_path / "b.hfa")
    with closing(sqlite3.connect(tmp_path / "sessions")) as connection:
        connection.execute("UPDATE sessions SET body = zeroblob(40), created_at = NULL WHERE id = 's1'")
        connection.commit()
    with pytest.raises(Misused, match="add --deleted"):
        await restore(tmp_path / "b.hfa", url_in(tmp_path), clock=LATER, replace=True)
    assert names_in(tmp_path) == ["b.hfa", "sessions"]


async def test_a_log_without_its_file_is_not_mixed_in(tmp_path: Path) -> None:
    """R-STO-8: SQLite would write it into whatever file has the name."""
    await filled(url_in(tmp_path))
    await backed_up(url_in(tmp_path), tmp_path / "b.hfa")
    async with open_store(url_in(tmp_path)) as store:
        await store.put(record_of("in the log"), expect=0)
        log = (tmp_path / "sessions-wal").read_bytes()
    (tmp_path / "sessions").unlink()
    (tmp_path / "sessions-wal").write_bytes(log)
    await restore(tmp_path / "b.hfa", url_in(tmp_path), clock=LATER)
    assert set((await contents(url_in(tmp_path)))[0]) == {f"s{at}" for at in range(30)}


async def test_what_is_in_the_log_is_kept_aside_too(tmp_path: Path) -> None:
    """R-STO-8: a process that was killed left it there."""
    backup = await made_two(tmp_path, "sqlite")
    await asyncio.to_thread(killed_holder, url_in(tmp_path))
    assert (tmp_path / "sessions-wal").stat().st_size > 0
    await restore(backup, url_in(tmp_path), clock=LATER, replace=True, deleted=True)
    assert "later" in (await contents(url_in(tmp_path, name="sessions.replaced-1")))[0]
    assert "later" not in (await contents(url_in(tmp_path)))[0]


@pytest.mark.parametrize("kind", ENGINES)
async def test_what_a_kill_left_half_filled_is_not_opened(tmp_path: Path, kind: str) -> None:
    """R-STO-8: a store that is loaded in its own place."""
    assert (await asyncio.to_thread(ran, "loading_program.py", url_in(tmp_path, kind))).returncode == -9
    for _ in range(2):
        with pytest.raises(Misused, match="was being filled when that was broken off; remove the folder"):
            async with open_store(url_in(tmp_path, kind)):
                pass
    await back_up(MemoryStore(), tmp_path / "b.hfa", clock=LATER)
    await restore(tmp_path / "b.hfa", url_in(tmp_path, kind), clock=LATER)
    async with open_store(url_in(tmp_path, kind)) as store:
        assert isinstance(store, OrderedStore)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_full_disk_changes_nothing(tmp_path: Path, kind: str) -> None:
    """R-STO-8."""
    await filled(url_in(tmp_path, kind), 400, owner="x" * 900)
    await backed_up(url_in(tmp_path, kind), tmp_path / "b.hfa")
    before = await contents(url_in(tmp_path, kind))
    words = ["restore", url_in(tmp_path, kind), str(tmp_path / "b.hfa"), "120000"]
    full = await asyncio.to_thread(ran, "full_program.py", *words)
    assert full.stdout.startswith("Unavailable: "), full
    assert await contents(url_in(tmp_path, kind)) == before
    assert names_in(tmp_path) == ["b.hfa", "sessions"]


@pytest.mark.parametrize("kind", ["memory", *KINDS])
async def test_nobody_waits_while_a_store_is_filled(tmp_path: Path, kind: str) -> None:
    """R-PER-5."""
    store = MemoryStore()
    await fill(store, 3000)
    async with store.dump() as pages:
        taken = [page async for page in pages]
    for at, watch in enumerate(LoopWatch.rounds()):
        async with open_store("memory://" if kind == "memory" else url_in(tmp_path, kind, f"{at}")) as new:
            assert isinstance(new, Dumped)
            with watch:
                await new.load(paged(taken))
