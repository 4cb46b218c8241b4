"""Stores that are opened by others at the very moment at which they are replaced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holdfast import Conflict, Unavailable
from holdfast.backup import restore
from holdfast.stores.ordered_folder import MARKER, _check_in_place, hold

from ..stores.engines import ENGINES
from .making import backed_up, contents, filled
from .test_restore import HERE, LATER, holder, url_in

RESTORES = 12


def opener(url: str, name: str) -> subprocess.Popen[str]:
    program = [sys.executable, str(HERE / "opening_program.py"), url, name]
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(program: subprocess.Popen[str]) -> set[str]:
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    return set(out.split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", *ENGINES])
async def test_nothing_acknowledged_goes_to_neither_store(tmp_path: Path, kind: str) -> None:
    """R-STO-8: whatever was written is in the store that was replaced, or in the one that took its place."""
    url = url_in(tmp_path, kind)
    await filled(url_in(tmp_path, kind, "first"), 3)
    await backed_up(url_in(tmp_path, kind, "first"), tmp_path / "b.hfa")
    await filled(url, 3)
    programs = [await asyncio.to_thread(opener, url, name) for name in ("p", "q")]
    kept: list[str] = []
    for _ in range(400):
        try:
            kept.append((await restore(tmp_path / "b.hfa", url, clock=LATER, replace=True, deleted=True)).kept)
        except (Conflict, Unavailable):
            continue
        if len(kept) == RESTORES:
            break
    written = set().union(*[await asyncio.to_thread(said, program) for program in programs])
    found: set[str] = set()
    for place in [*kept, str(tmp_path / "sessions")]:
        found |= set((await contents(f"{kind}:///{place}"))[0])
    assert len(kept) > 0
    assert len(written) > 0
    assert written - found == set()


def test_a_folder_that_lost_its_place_is_not_held(tmp_path: Path) -> None:
    """R-STO-8: it was opened before another took its place, and locked after."""
    os.close(hold(tmp_path / "one", "rocksdb"))
    os.close(hold(tmp_path / "two", "rocksdb"))
    held = os.open(tmp_path / "one" / MARKER, os.O_RDONLY)
    _check_in_place(held, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError):
        _check_in_place(held, tmp_path / "one")
    (tmp_path / "two").rename(tmp_path / "one")
    with pytest.raises(FileNotFoundError):
        _check_in_place(held, tmp_path / "one")
    os.close(held)


@pytest.mark.parametrize("kind", ["sqlite", *ENGINES])
@pytest.mark.parametrize("is_open", [True, False])
async def test_a_store_that_somebody_made_meanwhile_is_left_alone(tmp_path: Path, kind: str, is_open: bool) -> None:
    """R-STO-8: where nothing was when the restore began."""
    await filled(url_in(tmp_path, kind, "first"), 3)
    await backed_up(url_in(tmp_path, kind, "first"), tmp_path / "b.hfa")
    url = url_in(tmp_path, kind)
    async with AsyncExitStack() as stack:

        def make(what: str, done: int, total: int) -> None:
            if what == "restoring" and not made:
                made.append(holder(url))
                if not is_open:
                    made[0].communicate("write\n")

        made: list[subprocess.Popen[str]] = []
        stack.callback(lambda: made[0].communicate("write\n") if is_open else None)
        with pytest.raises(Conflict, match="somebody made"):
            await restore(tmp_path / "b.hfa", url, clock=LATER, progress=make)
    assert set((await contents(url))[0]) == {"later"}
