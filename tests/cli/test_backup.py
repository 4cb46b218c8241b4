"""`holdfast backup`, `restore` and `snapshot` as an operator uses them: what they say, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import Codec, KeyRing, open_store
from holdfast.cli.main import main
from holdfast.stores import Journal
from holdfast.stores.contract import append_to
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import entry_of, record_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.db"
    async with SqliteStore.open(path) as store:
        for name in ("first-session", "hit-session"):
            await store.put(record_of(name, timeout=None), expect=0)
    return path


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def piped(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "holdfast", *words]
    return subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)


def test_a_backup_is_made_and_restored(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "backup", url, "b.hfa")
    assert (code, err) == (0, "")
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(rf"2 sessions and 0 journal entries, as of {moment}, are in b.hfa \(\d+ bytes\)\.\n", out)
    code, out, err = run(capsys, "restore", "sqlite:///new.db", "b.hfa")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"sqlite:///new.db has 2 sessions again, as of .*; their idle clocks start now.\n", out)
    assert names_in(tmp_path) == ["b.hfa", "new.db", "sessions.db"]


def test_programs_are_answered_in_json(url: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "backup", url, "b.hfa", "--json")
    told = json.loads(out)
    assert (code, told["file"], told["sessions"], told["damaged"]) == (0, "b.hfa", 2, 0)
    code, out, _ = run(capsys, "restore", url, "b.hfa", "--replace", "--json")
    told = json.loads(out)
    assert (code, told["sessions"], told["kept"]) == (0, 2, f"{path}.replaced-1")


def test_without_a_name_it_is_called_by_the_time(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "backup", url)[0] == 0
    assert re.fullmatch(r"holdfast-\d{8}T\d{6}Z\.hfa", names_in(tmp_path)[0])


@pytest.mark.slow
def test_it_goes_through_pipes(tmp_path: Path, url: str) -> None:
    """R-STO-8: what is said of it is on stderr then."""
    made = piped("backup", url, "-", "--json")
    assert (made.returncode, json.loads(made.stderr)["file"]) == (0, "-")
    back = piped("restore", "sqlite:///new.db", "-", given=made.stdout)
    assert (back.returncode, back.stderr) == (0, b"")
    assert b"has 2 sessions again" in back.stdout
    cut = piped("restore", "sqlite:///other.db", "-", given=made.stdout[:-1])
    assert (cut.returncode, cut.stdout) == (1, b"")
    assert cut.stderr.startswith(b"holdfast: what comes is damaged: it ends too early, at byte")
    assert names_in(tmp_path) == ["new.db", "sessions.db"]


@pytest.mark.slow
def test_a_terminal_gets_no_backup_but_progress(tmp_path: Path, url: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "holdfast", "backup", url]
    refused = subprocess.run([*command, "-"], stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (refused.returncode, b"no text for a terminal" in refused.stderr) == (2, True)
    made = subprocess.run([*command, "b.hfa"], stdout=subprocess.PIPE, stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    seen = os.read(ours, 1000)
    os.close(ours)
    assert made.returncode == 0
    assert b"saving sessions 2 of 2" in seen
    assert seen.endswith(b"\r\x1b[K")


def test_what_could_not_be_read_is_told_with_exit_code_1(
    url: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-SEC-2: ids are shown in part."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET body = zeroblob(40) WHERE id = 'hit-session'")
        connection.commit()
    code, out, _ = run(capsys, "backup", url, "b.hfa")
    assert code == 1
    assert "1 sessions cannot be read and are not in it:\n  hit-…\n" in out
    code, out, _ = run(capsys, "restore", "sqlite:///new.db", "b.hfa")
    assert (code, "1 could not be read when the backup was made." in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backup", "sqlite:///none.db", "b.hfa"], "none.db is not there; name a store"),
        (["backup", "memory://", "b.hfa"], "names no store in a file"),
        (["backup", "http://[", "b.hfa"], "is not understood: Invalid IPv6 URL"),
        (["backup", "sqlite:///a%00b", "b.hfa"], "there is a NUL in it"),
        (["backup", "{url}/x", "b.hfa"], "is not there; name a store"),
        (["backup", f"sqlite:///{'x' * 300}", "b.hfa"], "cannot be looked at: File name too long"),
        (["backup", "{url}", ""], "is a folder; name a file in it"),
        (["backup", "{url}", ".", "--every", "0s"], "every 0 s is too often"),
        (["restore", "http://[", "b.hfa"], "is not understood: Invalid IPv6 URL"),
        (["snapshot", "list", "{url}", "--folder", "sessions.db"], "sessions.db is no folder"),
        (["backup", "{url}?durability=best", "b.hfa"], "is one of full, interval, off"),
        (["backup", "{url}", "sessions.db"], "no archive of Holdfast; choose another name"),
        (["backup", "{url}", "none/b.hfa"], "its folder is not there"),
        (["backup", "{url}", ".", "--every", "often"], "is not a duration"),
        (["backup", "{url}", ".", "--every", "1h", "--keep", "0"], "is not a whole number from 1"),
        (["backup", "{url}", "--every", "1h"], "wants a folder"),
        (["backup", "{url}", "none", "--every", "1h"], "none is no folder"),
        (["backup", "{url}", ".", "--keep", "3"], "add --every"),
        (["restore", "{url}", "none.hfa"], "none.hfa cannot be read: No such file"),
        (["restore", "{url}", "sessions.db"], "is no archive of Holdfast"),
        (["restore", "{url}"], "see holdfast restore --help"),
        (["snapshot", "take", "sqlite:///none.db"], "none.db is not there; name a store"),
        (["snapshot", "take", "{url}", "one", "two"], "snapshot take takes a name"),
        (["snapshot", "take", "{url}", "../one"], "is no name for a snapshot"),
        (["snapshot", "list", "{url}", "one"], "snapshot list takes no name"),
        (["snapshot", "diff", "{url}"], "snapshot diff takes one or two names"),
        (["snapshot", "restore", "{url}"], "snapshot restore takes a name"),
        (["snapshot", "keep", "{url}"], "invalid choice"),
        (["snapshot", "list", "{url}", "--fulll-ids"], "see holdfast snapshot --help"),
    ],
)
def test_a_call_that_must_be_changed_has_exit_code_2(
    tmp_path: Path, url: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *(word.format(url=url) for word in words))
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert names_in(tmp_path) == ["sessions.db"]


def test_snapshots_from_first_to_last(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """R-MGR-10."""
    assert run(capsys, "snapshot", "list", url) == (0, "There are no snapshots.\n", "")
    assert run(capsys, "snapshot", "take", url, "one") == (0, "Snapshot one holds 2 sessions.\n", "")
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        connection.execute("DELETE FROM sessions WHERE id = 'hit-session'")
        connection.commit()
    code, out, _ = run(capsys, "snapshot", "list", url)
    assert re.fullmatch(r"one  \d{4}-.* UTC  2 sessions  \d+ bytes\n", out)
    diff = "0 created, 1 deleted, 0 changed\n  deleted  hit-…\n"
    assert run(capsys, "snapshot", "diff", url, "one") == (0, diff, "")
    code, out, _ = run(capsys, "snapshot", "diff", url, "one", "one", "--json")
    assert (code, json.loads(out)) == (0, {"created": 0, "deleted": 0, "changed": 0, "changes": []})
    code, out, _ = run(capsys, "snapshot", "diff", url, "one", "--json", "--full-ids")
    assert json.loads(out)["changes"] == [{"id": "hit-session", "kind": "deleted", "fields": []}]
    code, out, _ = run(capsys, "snapshot", "restore", url, "one")
    assert (code, out.splitlines()) == (
        0,
        [
            "        1  so already; the idle clock starts now",
            "        1  deleted or expired, and stays so; --deleted brings it back",
        ],
    )
    code, out, _ = run(capsys, "snapshot", "restore", url, "one", "--deleted", "--session", "hit-session", "--json")
    assert (code, json.loads(out)["created"]) == (0, 1)
    assert run(capsys, "snapshot", "take", url, "two", "--session", "hit-session", "--folder", "elsewhere")[0] == 0
    assert names_in(tmp_path) == ["elsewhere", "sessions.db", "sessions.db.snapshots"]
    assert run(capsys, "snapshot", "delete", url, "one") == (0, "Snapshot one is deleted.\n", "")
    code, out, err = run(capsys, "snapshot", "delete", url, "one")
    assert (code, out) == (1, "")
    assert "there is no snapshot one in" in err


@pytest.mark.slow
def test_backups_are_made_until_it_is_told_to_end(tmp_path: Path, url: str) -> None:
    """R-STO-8."""
    (tmp_path / "backups").mkdir()
    command = [sys.executable, "-m", "holdfast", "backup", url, "backups", "--every", "1s", "--keep", "2", "--json"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    made = [json.loads(program.stdout.readline())["file"] for _ in range(3)]
    program.send_signal(signal.SIGTERM)
    _, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, "")
    assert names_in(tmp_path / "backups")[-1] >= Path(made[-1]).name
    assert len(names_in(tmp_path / "backups")) == 2


@pytest.mark.parametrize("command", ["backup", "restore", "snapshot"])
def test_every_word_is_documented(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """R-OPS-4."""
    document = (ROOT / "docs/backup.md").read_text()
    with pytest.raises(SystemExit):
        main([command, "--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert len(flags) >= 3
    assert [flag for flag in sorted(flags) if f"`{flag}" not in document] == []


def test_an_encrypted_store_is_backed_up_and_restored_with_its_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-STO-6: and neither without them; nothing of a session lies in clear in the archive."""
    keys = tmp_path / "keys"
    keys.write_text(f"2026 {'QUFB' * 10}QUE=\n")
    keys.chmod(0o600)
    asyncio.run(_fill(f"sqlite:///{tmp_path}/sessions.db", Codec(keys=KeyRing.parse(keys.read_text(), "here"))))
    code, out, err = run(capsys, "backup", f"sqlite:///{tmp_path}/sessions.db", "b.hfa")
    assert (code, out, "2026" in err, names_in(tmp_path)) == (1, "", True, ["keys", "sessions.db"]), err
    words = ("--key-file", str(keys), "--compress")
    assert run(capsys, "backup", f"sqlite:///{tmp_path}/sessions.db", "b.hfa", *words)[0] == 0
    assert b"secret" not in (tmp_path / "b.hfa").read_bytes()
    assert run(capsys, "restore", f"sqlite:///{tmp_path}/again.db", "b.hfa")[0] == 1
    assert not (tmp_path / "again.db").exists()
    assert run(capsys, "restore", f"rocksdb:///{tmp_path}/again", "b.hfa", *words[:2])[0] == 0
    for does in ("take", "diff", "restore"):
        code, out, err = run(capsys, "snapshot", does, f"sqlite:///{tmp_path}/sessions.db", "snap", *words)
        assert code == 0, err
    (taken,) = (tmp_path / "sessions.db.snapshots").iterdir()
    assert b"secret" not in taken.read_bytes()


async def _fill(url: str, codec: Codec) -> None:
    async with open_store(url, codec=codec) as store:
        assert isinstance(store, Journal)
        await store.put(record_of("secret-session", owner="secret-owner", timeout=None), expect=0)
        await append_to(store, "secret-session", 1, [entry_of("a", 0, data=b"secret data")])


@pytest.mark.parametrize("url", ["sqlite:///none", "leveldb:///none", "rocksdb:///none"])
@pytest.mark.parametrize("words", [["backup"], ["snapshot", "list"], ["snapshot", "take"]])
def test_no_store_is_made_where_none_was(
    tmp_path: Path, path: Path, url: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """R-STO-8: what only reads does not turn an empty file or folder into a store."""
    none = tmp_path / "none"
    if url.startswith("sqlite"):
        none.touch()
    else:
        none.mkdir()
    code, out, err = run(capsys, *words, url)
    assert (code, out) == (2, "")
    assert "none is empty; no store was made in it yet" in err
    assert names_in(tmp_path) == ["none", path.name]
    assert none.stat().st_size == 0 if none.is_file() else names_in(none) == []
