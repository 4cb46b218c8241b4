"""Backups and restores that are killed (-9) at some call of theirs: what is there after that is whole."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from holdfast.backup import check, restore
from holdfast.model.session import Record

from ..stores.engines import ENGINES
from .making import backed_up, contents, filled
from .test_restore import LATER, ran, url_in

KINDS = ["sqlite", *ENGINES]
_CALLS: dict[tuple[str, str], int] = {}


async def calls_of(does: str, kind: str, folder: Path) -> int:
    """Return how many calls it makes when it is not killed."""
    if (does, kind) not in _CALLS:
        url, backup = await prepared(folder, kind)
        whole = await asyncio.to_thread(ran, "killed_program.py", does, url, str(backup), "0")
        assert whole.returncode == 0, whole.stderr
        _CALLS[does, kind] = int(whole.stdout)
    return _CALLS[does, kind]


async def prepared(folder: Path, kind: str) -> tuple[str, Path]:
    """Make a store of 40 sessions, and a backup of another of 400; return the address and the backup."""
    await asyncio.to_thread(folder.mkdir)
    await filled(url_in(folder, kind, "first"), 400, owner="new")
    await backed_up(url_in(folder, kind, "first"), folder / "b.hfa")
    await filled(url_in(folder, kind), 40, owner="old")
    return url_in(folder, kind), folder / "b.hfa"


def owners(records: dict[str, Record]) -> tuple[int, set[str | None]]:
    return len(records), {record.owner for record in records.values()}


async def killed_at_some_call(does: str, kind: str, folder: Path, seed: int) -> tuple[str, Path]:
    """Have it killed: every other time near its end, where names change."""
    calls = await calls_of(does, kind, folder / "whole")
    chance = random.Random(seed)
    at = chance.randrange(calls * 4 // 5 if seed % 2 else 1, calls)
    url, backup = await prepared(folder / "killed", kind)
    await asyncio.to_thread(ran, "killed_program.py", does, url, str(backup), str(at))
    return url, backup


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
async def test_a_backup_that_is_killed_leaves_the_older_one_or_the_new_one(
    tmp_path: Path, kind: str, seed: int
) -> None:
    """R-STO-8: and the store as it was."""
    url, backup = await killed_at_some_call("backup", kind, tmp_path, seed)
    with backup.open("rb") as file:
        checked = await check(file, "b.hfa")
    assert checked.totals.sessions in (40, 400)
    assert owners((await contents(url))[0]) == (40, {"old"})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
async def test_a_restore_that_is_killed_leaves_the_old_store_or_the_new_one(
    tmp_path: Path, kind: str, seed: int
) -> None:
    """R-STO-8: whichever it is can be used, and restored again."""
    url, backup = await killed_at_some_call("restore", kind, tmp_path, seed)
    found = owners((await contents(url))[0])
    assert found in ((40, {"old"}), (400, {"new"}))
    done = await restore(backup, url, clock=LATER, replace=True, deleted=True)
    assert done.sessions == 400
    assert owners((await contents(url))[0]) == (400, {"new"})
    assert not (tmp_path / "killed" / "sessions.restore").exists()


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(4, 64))
@pytest.mark.parametrize("kind", KINDS)
async def test_many_backups_that_are_killed(tmp_path: Path, kind: str, seed: int) -> None:
    """R-STO-8."""
    await test_a_backup_that_is_killed_leaves_the_older_one_or_the_new_one(tmp_path, kind, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(4, 64))
@pytest.mark.parametrize("kind", KINDS)
async def test_many_restores_that_are_killed(tmp_path: Path, kind: str, seed: int) -> None:
    """R-STO-8."""
    await test_a_restore_that_is_killed_leaves_the_old_store_or_the_new_one(tmp_path, kind, seed)
