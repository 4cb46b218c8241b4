"""`holdfast store` as an operator uses it: what it says, and its exit codes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import Codec, KeyRing
from holdfast.cli.main import main
from holdfast.stores.contract import append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import entry_of, record_of


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        for name in ("first-session", "hit-session"):
            await store.put(record_of(name, timeout=None), expect=0)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["store", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET body = zeroblob(40) WHERE id = 'hit-session'")
        connection.commit()


def test_info_says_what_it_is_to_people_and_to_programs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{path}?durability=interval"
    code, out, err = run(capsys, "info", url)
    assert (code, err) == (0, "")
    assert "sessions    2 active, 0 terminated\n" in out
    assert "durability  interval\n" in out
    code, out, _ = run(capsys, "info", url, "--json")
    told = json.loads(out)
    assert (code, told["sessions"], told["info"]["kind"]) == (0, {"active": 2, "terminated": 0}, "sqlite")
    assert told["size_bytes"] == path.stat().st_size


def test_a_sound_store_is_said_to_be_sound(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{path}"
    assert run(capsys, "check", url) == (0, "2 sessions can be read.\nNothing is damaged.\n", "")
    told = "2 sessions can be read. Nothing is damaged, and nothing was changed.\n"
    assert run(capsys, "repair", url) == (0, told, "")


def test_damage_is_found_with_exit_code_1_and_repaired(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R-SEC-2: ids are shown in part."""
    damage(path)
    url = f"sqlite:///{path}"
    code, out, err = run(capsys, "check", url)
    assert (code, err) == (1, "")
    assert "1 sessions are damaged:\n  hit-…\n" in out
    assert f"`holdfast store repair {url}`" in out
    code, out, _ = run(capsys, "check", url, "--json")
    assert (code, json.loads(out)) == (
        1,
        {"pages": [], "records": 1, "newer": 0, "locked": 0, "damaged": 1, "named": ["hit-…"]},
    )
    code, out, err = run(capsys, "repair", url)
    assert (code, err) == (0, "")
    assert f"{url} is sound again, with 1 sessions" in out
    assert f"kept as {path}.damaged-1;" in out
    assert "1 sessions are lost:\n  hit-…\n" in out
    assert "hit-session" not in out
    assert run(capsys, "check", url)[0] == 0


@pytest.mark.parametrize("does", ["info", "check", "repair"])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///{path}.none", "is not there; name the file of a store"),
        ("sqlite:///{path}?durability=best", "is one of full, interval, off"),
        ("memory://", "names no store that can be looked after"),
        ("rocksdb:///{path}.none", "is not there"),
        ("rocksdb:///{path}", "is not there, or no rocksdb store"),
        ("http://[", "is not understood: Invalid IPv6 URL"),
        ("sqlite:///{path}%00", "there is a NUL in it"),
        ("sqlite:///{path.parent}", "is a folder; name a file in it"),
        ("{path}", "names no store that can be looked after"),
    ],
)
def test_a_call_that_must_be_changed_has_exit_code_2(
    path: Path, does: str, url: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, does, url.format(path=path))
    assert (code, out) == (2, "")
    assert told in err
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(path: Path, terminal: bool) -> None:
    """It is on stderr, and gone at the end."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-m", "holdfast", "store", "check", f"sqlite:///{path}"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    try:
        seen = os.read(ours, 1000)
    except OSError:  # how a terminal ends
        seen = b""
    os.close(ours)
    assert (ran.returncode, ran.stdout) == (0, b"2 sessions can be read.\nNothing is damaged.\n")
    assert (b"checking pages" in seen) is terminal
    assert seen.endswith(b"\r\x1b[K") is terminal


KEYS = f"2026 {'QUFB' * 10}QUE=\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    return keys


async def sealed(path: Path) -> str:
    """Make a store whose second session is encrypted, the first one not; return its address."""
    for name, codec in (("first-session", Codec()), ("hit-session", Codec(keys=KeyRing.parse(KEYS, "here")))):
        async with SqliteStore.open(path, codec=codec) as store:
            await store.put(record_of(name, timeout=None), expect=0)
            await append_to(store, name, 1, [entry_of("a", 0)])
    return f"sqlite:///{path}"


async def test_info_says_what_lies_under_which_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R-STO-6: without the keys, so that whoever wants to remove one can see whether anything needs it."""
    url = await sealed(tmp_path / "sessions.db")
    code, out, _ = run(capsys, "info", url)
    assert (code, "keys        3 under 2026, 3 not encrypted\n" in out) == (0, True)
    assert json.loads(run(capsys, "info", url, "--json")[1])["keys"] == {"": 3, "2026": 3}
    longest = KeyRing({"k" * 32: b"k" * 32})
    async with SqliteStore.open(tmp_path / "sessions.db", codec=Codec(keys=longest)) as store:
        await append_to(store, "first-session", 1, [entry_of("a", 1)])
    found = json.loads(run(capsys, "info", url, "--json")[1])["keys"]
    assert (found["k" * 32], sum(found.values())) == (1, 7)


async def test_what_is_encrypted_is_checked_and_repaired_with_its_keys(
    tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-STO-2: and without them it is whole as far as its checksum tells, and nothing is changed."""
    path = tmp_path / "sessions.db"
    url = await sealed(path)
    told = "2 sessions can be read, 1 of them with keys that were not given.\nNothing is damaged.\n"
    assert run(capsys, "check", url) == (0, told, "")
    assert run(capsys, "repair", url)[0] == 0  # nothing is damaged
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET body = zeroblob(40) WHERE id = 'first-session'")
        connection.commit()
    code, _, err = run(capsys, "repair", url)
    assert (code, "holds 1 sessions under keys that were not given" in err) == (1, True)
    code, out, _ = run(capsys, "repair", url, "--key-file", str(keys))
    assert (code, "is sound again, with 1 sessions" in out) == (0, True)
    async with SqliteStore.open(path, codec=Codec(keys=KeyRing.parse(KEYS, "here"))) as store:
        assert await store.get("hit-session") == record_of("hit-session", timeout=None)
        assert await store.read("hit-session", "a", after=(0, -1)) == [entry_of("a", 0)]


def test_what_opens_with_no_key_is_perhaps_not_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R-STO-6: another key under the same id looks like damage everywhere, and a repair would be the wrong advice."""
    path = tmp_path / "sessions.db"

    async def fill() -> None:
        async with SqliteStore.open(path, codec=Codec(keys=KeyRing({"k1": bytes(32)}))) as store:
            await store.put(record_of("first-session", timeout=None), expect=0)

    asyncio.run(fill())
    other = tmp_path / "keys"
    other.touch(mode=0o600)
    other.write_text(f"k1 {base64.b64encode(b'x' * 32).decode()}\n")
    code, out, _ = run(capsys, "check", f"sqlite:///{path}", "--key-file", str(other))
    assert code == 1
    assert "look first whether these are its keys" in out


def test_an_answer_that_cannot_be_written_is_told(path: Path) -> None:
    """R-STO-8."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "store", "info", f"sqlite:///{path}"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.endswith("could not be written: No space left on device\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("does", ["info", "check", "repair"])
@pytest.mark.parametrize("kind", ["sqlite", "leveldb", "rocksdb"])
def test_what_may_not_be_looked_at_is_told(kind: str, does: str, capsys: pytest.CaptureFixture[str]) -> None:
    """R-STO-2. A name that is too long cannot be looked at either, whoever asks."""
    code, _, err = run(capsys, does, f"{kind}:///{'x' * 300}/sessions")
    assert (code, "cannot be looked at: File name too long" in err) == (2, True)
