"""What `store check` finds in a SQLite file, and what `store repair` saves of it, also when it is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import Codec, Conflict, Corrupt, HoldfastError, Misused
from holdfast.codec import encode
from holdfast.stores import upkeep_of
from holdfast.stores.contract import append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.sqlite_file import SCHEMA, connect
from holdfast.stores.sqlite_repair import LOCKS_AT
from holdfast.stores.sqlite_upkeep import SqliteUpkeep
from holdfast.testing.records import NOW, entry_of, record_of

PROGRAM = Path(__file__).parent / "repairing_program.py"
COUNT = 400
NAMES = [f"s{at:04}" for at in range(COUNT)]
START = (0, -1)
LEAF_OF_A_TABLE = 13
STEPS = ["copying", "checking pages", "saving sessions", "saving messages", "putting it in its place"]


def quiet(what: str, done: int, total: int) -> None:
    return None


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return the place of a store of 400 sessions of about 1 kB, each with two messages."""
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        await store.next_term()
        await asyncio.gather(
            *(store.put(record_of(name, metadata=b"x" * 1000), expect=0, durable=False) for name in NAMES)
        )
        for name in NAMES:
            await append_to(store, name, 1, [entry_of("a", 0), entry_of("a", 1)])
    return path


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def overwrite_page_with(path: Path, words: bytes) -> None:
    """Damage the page of the table that holds the record with `words`."""
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):
        held = content[page : page + 4096]
        if held[0] == LEAF_OF_A_TABLE and words in held and b"x" * 900 in held:
            content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def damage_body_of(path: Path, name: str) -> None:
    with closing(connect(path)) as connection:
        connection.execute("UPDATE sessions SET body = zeroblob(40) WHERE id = ?", (name,))


def contents_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


async def there_in(path: Path) -> list[str]:
    """Return the names of the sessions, each of which is whole, with its journal."""
    async with SqliteStore.open(path) as store:
        found = [name for name in NAMES if await store.get(name) == record_of(name, metadata=b"x" * 1000)]
        for name in found:
            assert await store.read(name, "a", after=START) == [entry_of("a", 0), entry_of("a", 1)]
        assert await store.next_term() == 2
        assert (await store.info()).health == "ok"
    return found


def begun(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROGRAM, url_of(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def killed_before(path: Path, step: str) -> None:
    with begun(path) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        while (said := program.stdout.readline().strip()) != step:
            assert said, f"it ended before it came to {step!r}"
            program.stdin.write("\n")
            program.stdin.flush()
        program.kill()


def test_a_sound_store_is_found_sound_and_left_alone(path: Path) -> None:
    """R-STO-3."""
    before = contents_of(path.parent)
    findings = upkeep_of(url_of(path)).check(quiet)
    assert (findings.sound, findings.records) == (True, COUNT)
    repaired = upkeep_of(url_of(path)).repair(quiet)
    assert (repaired.kept, repaired.sessions) == ("", COUNT)
    assert contents_of(path.parent) == before
    inspection = upkeep_of(url_of(path) + "?durability=interval").inspect(NOW)
    assert inspection.sessions == {"active": COUNT, "terminated": 0}
    assert (inspection.info.schema, inspection.info.durability) == (SCHEMA, "interval")
    assert inspection.size_bytes == len(before[path.name])


async def test_a_damaged_change_is_found_and_the_feed_begun_anew(path: Path) -> None:
    """R-STO-2: no session is touched by it."""
    with closing(connect(path)) as connection:
        connection.execute("UPDATE changes SET body = x'4846' WHERE n = 1")
    findings = upkeep_of(url_of(path)).check(quiet)
    assert (findings.sound, findings.pages, findings.damaged) == (False, ("1 changes of the feed are damaged",), 0)
    repaired = await asyncio.to_thread(upkeep_of(url_of(path)).repair, quiet)
    assert (repaired.sessions, repaired.lost_sessions) == (COUNT, 0)
    assert upkeep_of(url_of(path)).check(quiet).sound


async def test_around_a_damaged_page_everything_is_saved(path: Path) -> None:
    """R-STO-3: what is lost is named, in part, and the damaged file is kept as it was."""
    overwrite_page_with(path, b"s0200")
    damaged = contents_of(path.parent)[path.name]
    findings = upkeep_of(url_of(path)).check(quiet)
    assert findings.pages
    assert 0 < findings.damaged < 10
    assert findings.records + findings.damaged == COUNT
    repaired = upkeep_of(url_of(path)).repair(quiet)
    assert (repaired.sessions, repaired.lost_sessions) == (findings.records, findings.damaged)
    assert repaired.entries == 2 * findings.records
    there = await there_in(path)
    assert len(there) == findings.records
    assert {"s0000", "s0399"} <= set(there)
    assert "s0200" not in there
    kept = path.with_name("sessions.db.damaged-1")
    assert repaired.kept == str(kept)
    assert contents_of(path.parent)[kept.name] == damaged
    assert path.with_name("sessions.db.repair").exists() is False


async def test_many_damaged_pages_lose_no_more_than_they_held(path: Path) -> None:
    """R-STO-3: the first and the last page of the table among them."""
    for name in NAMES[::50]:
        overwrite_page_with(path, name.encode())
    overwrite_page_with(path, b"s0399")
    repaired = upkeep_of(url_of(path)).repair(quiet)
    there = await there_in(path)
    assert len(there) == repaired.sessions
    assert repaired.sessions + repaired.lost_sessions == COUNT
    assert repaired.sessions > COUNT - 9 * 4


async def test_a_damaged_record_is_left_behind_with_its_journal(path: Path) -> None:
    """R-STO-3: and a second repair keeps the file before it under another name."""
    damage_body_of(path, "s0007")
    findings = upkeep_of(url_of(path)).check(quiet)
    assert (findings.pages, findings.damaged, findings.named) == ((), 1, ("s000…",)) or findings.named == ("s0…",)
    repaired = upkeep_of(url_of(path)).repair(quiet)
    assert (repaired.lost_sessions, repaired.sessions, repaired.entries) == (1, COUNT - 1, 2 * (COUNT - 1))
    damage_body_of(path, "s0008")
    assert upkeep_of(url_of(path)).repair(quiet).kept.endswith(".damaged-2")
    assert await there_in(path) == [name for name in NAMES if name not in ("s0007", "s0008")]


async def test_what_was_in_the_log_is_saved_too(path: Path) -> None:
    """R-STO-3: a killed process leaves a log, and the damaged file is kept with it."""
    damage_body_of(path, "s0007")
    async with SqliteStore.open(path) as store:
        await store.put(record_of("late"), expect=0)
        files = contents_of(path.parent)
    copy = path.with_name("copy.db")
    for helper in ("", "-wal"):
        copy.with_name(f"copy.db{helper}").write_bytes(files[f"sessions.db{helper}"])
    repaired = upkeep_of(url_of(copy)).repair(quiet)
    assert repaired.sessions == COUNT
    async with SqliteStore.open(copy) as store:
        assert await store.get("late") == record_of("late")
    after = contents_of(path.parent)
    assert after["copy.db.damaged-1"] == files["sessions.db"]
    assert after["copy.db.damaged-1-wal"] == files["sessions.db-wal"]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_a_repair_that_is_killed_is_repeated(path: Path, step: str) -> None:
    """R-STO-3: until then the store refuses to open, and nothing is lost."""
    overwrite_page_with(path, b"s0200")
    before = contents_of(path.parent)[path.name]
    await asyncio.to_thread(killed_before, path, step)
    assert contents_of(path.parent)[path.name] == before
    with pytest.raises(
        Misused, match=r"is being repaired, or that was broken off; wait, or run `holdfast store repair"
    ):
        async with SqliteStore.open(path):
            pass
    assert upkeep_of(url_of(path)).repair(quiet).sessions == len(await there_in(path)) > COUNT - 10
    assert contents_of(path.parent)["sessions.db.damaged-1"] == before


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 2, 3])
async def test_a_repair_that_is_killed_while_files_change_places_is_ended(path: Path, done: int) -> None:
    """R-STO-3: each of the moments between two renames is brought about by hand."""
    overwrite_page_with(path, b"s0200")
    before = contents_of(path.parent)[path.name]
    await asyncio.to_thread(killed_before, path, STEPS[-1])
    kept = path.with_name("sessions.db.damaged-1")
    kept.hardlink_to(path)
    if done > 1:
        path.with_name("sessions.db-wal").unlink(missing_ok=True)
    if done > 2:
        (path.with_name("sessions.db.repair") / "ready.db").rename(path)
    repaired = upkeep_of(url_of(path)).repair(quiet)
    assert repaired.sessions == len(await there_in(path)) > COUNT - 10
    assert contents_of(path.parent)[kept.name] == before
    assert path.with_name("sessions.db.damaged-2").exists() is False


@pytest.mark.slow
async def test_a_file_that_a_process_has_open_is_not_repaired(path: Path) -> None:
    """R-STO-3: whoever has it open goes on."""
    damage_body_of(path, "s0007")
    async with SqliteStore.open(path) as store:
        run = await asyncio.create_subprocess_exec(
            sys.executable, PROGRAM, url_of(path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        out, _ = await run.communicate()
        assert out.decode() == f"Conflict a process has {path} open; stop the server first, then repair it\n"
        await store.put(record_of("more"), expect=0)
    assert sorted(contents_of(path.parent)) == [path.name]


@pytest.mark.slow
def test_two_repairs_do_not_meet(path: Path) -> None:
    """R-STO-3."""
    damage_body_of(path, "s0007")
    with begun(path) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "copying\n"
        with pytest.raises(Conflict, match="another repair"):
            upkeep_of(url_of(path)).repair(quiet)
        out, _ = program.communicate("\n" * 50)
    assert "Repaired(kept=" in out


@pytest.mark.parametrize("does", ["inspect", "check", "repair"])
def test_what_is_no_store_is_told_and_left_alone(tmp_path: Path, does: str) -> None:
    """R-STO-2."""

    def run(path: Path) -> Exception:
        with pytest.raises(HoldfastError) as raised:
            getattr(upkeep_of(url_of(path)), does)(NOW if does == "inspect" else quiet)
        return raised.value

    (tmp_path / "diary").write_bytes(b"my diary\n" * 1000)
    (tmp_path / "empty").touch()
    before = contents_of(tmp_path)
    for name, told in (("none", "is not there"), ("diary", "not a SQLite database"), ("empty", "is empty")):
        error = run(tmp_path / name)
        assert isinstance(error, Misused)
        assert told in str(error)
    assert contents_of(tmp_path) == before
    assert {each.name for each in tmp_path.iterdir()} == set(before)


def test_a_store_of_which_nothing_is_left_is_kept_as_it_is(path: Path) -> None:
    """R-STO-2."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    before = contents_of(path.parent)
    with pytest.raises(Corrupt, match="no session that can be read; restore it from a backup"):
        upkeep_of(url_of(path)).repair(quiet)
    assert contents_of(path.parent) == before


def held_by_others(path: Path) -> bool:
    """Tell whether another process finds that somebody has the file at `path` for itself."""
    text = f"import fcntl; fcntl.lockf(open({str(path)!r}, 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, {LOCKS_AT})"
    tried = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    return "BlockingIOError" in tried.stderr


async def test_nobody_can_open_a_compressed_file_while_it_is_repaired(tmp_path: Path) -> None:
    """R-STO-3: what it was compressed with is read from the copy; of the file nothing is opened, nor changed."""
    path, codec = tmp_path / "sessions.db", Codec(compress=True)
    fields = {"timeout": None, "owner": "ada", "metadata": encode({"name": "Ada Lovelace was here", "n": 7})}
    async with SqliteStore.open(path, codec=codec) as store:
        await asyncio.gather(
            *(store.put(record_of(f"s{at:031}", **fields), expect=0, durable=False) for at in range(1100))
        )
        await store.seal_anew()
        more = record_of(f"s{1:031}", version=2, **fields)
        await store.put(more, expect=1)
    damage_body_of(path, f"s{0:031}")
    before = await asyncio.to_thread(path.read_bytes)
    held: dict[str, bool] = {}
    done = await asyncio.to_thread(
        SqliteUpkeep(path, "full", codec).repair, lambda what, *_: held.update({what: held_by_others(path)})
    )
    assert held == dict.fromkeys([*STEPS, "opening records", "opening changes"], True)
    assert (done.sessions, done.lost_sessions) == (1099, 1)
    assert await asyncio.to_thread(Path(done.kept).read_bytes) == before
    async with SqliteStore.open(path, codec=codec) as store:
        assert await store.get(more.id) == more
