"""Histories of concurrent calls are judged rightly, and those of every store could have happened in some order."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from holdfast import Misused, open_store
from holdfast.model.session import Record
from holdfast.stores import BesideStore, MemoryStore, Store
from holdfast.testing.histories import Act, Call, Seen, violations
from holdfast.testing.history_contract import HistoryContract, check_history

from .engines import ENGINES

HERE: Final = Path(__file__).parent
CHOSEN: Final = os.environ.get("HOLDFAST_SEED")
"""Runs one seed again: HOLDFAST_SEED=123 make campaign."""
CAMPAIGN: Final = (int(CHOSEN),) if CHOSEN else tuple(range(100, 130))
STORES: Final = ["memory", "beside", "sqlite", *ENGINES]
IN_FILES: Final = ["sqlite", *ENGINES]


def call(act: Act, began: float, ended: float | None, **outcome: object) -> Call:
    return msgspec.convert({"key": "k", "act": act, "began": began, "ended": ended, **outcome}, Call)


def put(began: float, ended: float | None, expect: int, value: str, did: bool = True) -> Call:
    return call("put", began, ended, expect=expect, value=value, did=did)


def get(began: float, ended: float | None, seen: Seen) -> Call:
    return call("get", began, ended, seen=seen)


def delete(began: float, ended: float | None, did: bool, expect: int | None = None) -> Call:
    return call("delete", began, ended, did=did, expect=expect)


A, B = (1, "a"), (2, "b")
GOOD: Final[dict[str, list[Call]]] = {
    "nothing": [],
    "one after the other": [put(0, 1, 0, "a"), get(2, 3, A), put(4, 5, 1, "b"), get(6, 7, B), delete(8, 9, True)],
    "a get beside a put sees either": [put(0, 1, 0, "a"), put(2, 9, 1, "b"), get(3, 4, A), get(5, 6, B)],
    "a put refused before what it expects is there": [put(0, 9, 0, "a"), put(1, 5, 1, "b", did=False), get(6, 7, A)],
    "of two creations one": [put(0, 9, 0, "a"), put(1, 8, 0, "b", did=False), get(10, 11, A)],
    "deleted and created again": [put(0, 1, 0, "a"), delete(2, 9, True), put(3, 8, 0, "b"), get(10, 11, (1, "b"))],
    "unknown, and never done": [put(0, 1, 0, "a"), put(2, None, 1, "b"), get(3, 4, A), get(5, 6, A)],
    "unknown, and done much later": [put(0, 1, 0, "a"), put(2, None, 1, "b"), get(3, 4, A), get(5, 6, B)],
    "an unknown delete": [put(0, 1, 0, "a"), call("delete", 2, None), get(3, 4, None), put(5, 6, 0, "c")],
    "touching moments count as at once": [put(0, 1, 0, "a"), get(1, 2, None)],
}
BAD: Final[dict[str, list[Call]]] = {
    "a stale read": [put(0, 1, 0, "a"), put(2, 3, 1, "b"), get(4, 5, A)],
    "a read of nothing": [put(0, 1, 0, "a"), get(2, 3, None)],
    "a read that goes back": [put(0, 1, 0, "a"), put(2, 9, 1, "b"), get(3, 4, B), get(5, 6, A)],
    "a lost update": [put(0, 1, 0, "a"), put(2, 3, 1, "b"), put(4, 5, 1, "c"), get(6, 7, (2, "c"))],
    "two that won": [put(0, 1, 0, "a"), put(2, 9, 1, "b"), put(3, 8, 1, "c")],
    "two that deleted": [put(0, 1, 0, "a"), delete(2, 9, True), delete(3, 8, True)],
    "a refusal without a reason": [put(0, 1, 0, "a"), put(2, 3, 1, "b", did=False)],
    "a delete that refused what it wanted": [put(0, 1, 0, "a"), delete(2, 3, False, expect=1)],
    "revived": [put(0, 1, 0, "a"), delete(2, 3, True), get(4, 5, A)],
    "a value of nobody": [put(0, 1, 0, "a"), get(2, 3, (1, "z"))],
    "unknown, and done twice": [
        put(0, 1, 0, "a"),
        put(2, None, 1, "b"),
        get(3, 4, B),
        delete(5, 6, True),
        get(7, 8, B),
    ],
    "unknown, and done before it began": [put(0, 1, 0, "a"), get(2, 3, B), put(4, None, 1, "b")],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_found_good(name: str) -> None:
    """R-STO-2."""
    assert violations(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_found_bad(name: str) -> None:
    """R-STO-2."""
    (said,) = violations(BAD[name])
    assert said.startswith("k: after ")


def test_keys_are_judged_apart() -> None:
    """R-STO-2."""
    bad = [msgspec.structs.replace(each, key=key) for key in ("x", "y") for each in BAD["two that won"]]
    assert [said[0] for said in violations([*bad, *GOOD["one after the other"]])] == ["x", "y"]


def test_a_history_that_would_be_checked_for_ever_is_refused() -> None:
    """R-STO-2."""
    at_once = [put(0, 99, 0, f"{number}") for number in range(40)] + [delete(0, 99, True) for _ in range(41)]
    with pytest.raises(Misused, match="record fewer"):
        violations(at_once)


class Stale(MemoryStore):
    """Answers a get with what it knew one write before."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, Record | None] = {}

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        before = self.get_now(record.id)
        await super().put(record, expect=expect)
        self._before[record.id] = before

    async def get(self, session_id: str) -> Record | None:
        return self._before.get(session_id)


class Hasty(MemoryStore):
    """Looks, lets others have their turn, and then writes whatever is there."""

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        stored = self.get_now(record.id)
        await asyncio.sleep(0)
        if stored is not None and stored.version == expect:
            await super().delete(record.id)
            self.put_now(record, 0)
        else:
            await super().put(record, expect=expect)


class Generous(MemoryStore):
    """Lets two delete the same."""

    async def delete(self, session_id: str, *, expect: Record | None = None, durable: bool = True) -> bool:
        stored = self.get_now(session_id)
        await asyncio.sleep(0)
        await super().delete(session_id, expect=expect)
        return stored is not None and (expect is None or stored.is_version_of(expect))


class Forgetful(MemoryStore):
    """Acknowledges a write that is not durable, and has some of them not."""

    async def put(self, record: Record, *, expect: int, durable: bool = True) -> None:
        stored = self.get_now(record.id)
        if durable or stored is None or stored.version != expect or expect % 3:
            await super().put(record, expect=expect)


@pytest.mark.parametrize("kind", [Stale, Hasty, Generous, Forgetful])
async def test_a_store_that_is_wrong_is_caught(kind: type[MemoryStore]) -> None:
    """R-STO-2."""
    suite = HistoryContract()
    with pytest.raises(AssertionError, match="none of these fits"):
        await suite.test_what_callers_see_at_once_could_have_happened_one_after_the_other(kind())


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param in ("memory", "beside"):
        async with open_store("memory://" if request.param == "memory" else address("sqlite", tmp_path)) as main:
            yield main if request.param == "memory" else BesideStore(main)
    else:
        async with open_store(address(request.param, tmp_path)) as opened:
            yield opened


@pytest.mark.campaign
@pytest.mark.parametrize("seed", CAMPAIGN)
@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_long_histories_could_have_happened_one_after_the_other(store: Store, seed: int) -> None:
    """R-STO-2."""
    await check_history(store, seed, acts=200)
    await check_history(store, seed + 1_000_000, acts=100, given_up=0.05)


def address(kind: str, folder: Path) -> str:
    return f"{kind}:///{folder}/sessions"


def started(url: str, seed: int, name: str, acts: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / "history_program.py"), url, str(seed), name, str(acts)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def told(lines: list[bytes]) -> list[Call]:
    """Return the calls that a program told of, each as it stood last; a line cut off is none."""
    calls = [msgspec.json.decode(line, type=Call) for line in lines if line.endswith(b"\n")]
    return list({each.number: each for each in calls}.values())


def ran(url: str, seed: int, name: str, acts: int) -> list[Call]:
    """Run a program to its end; return its calls."""
    with started(url, seed, name, acts) as program:
        assert program.stdout is not None
        lines = program.stdout.readlines()
    assert program.returncode == 0
    return told(lines)


def killed(url: str, seed: int, name: str, lines: int) -> list[Call]:
    """Start a program, kill -9 it once it has told so many lines; return its calls."""
    with started(url, seed, name, 1_000_000) as program:
        assert program.stdout is not None
        said = [program.stdout.readline() for _ in range(lines)]
        program.send_signal(signal.SIGKILL)
        said += program.stdout.readlines()
    assert program.returncode == -signal.SIGKILL
    return told(said)


async def check_killed(kind: str, seed: int, folder: Path) -> None:
    """Kill one after the other, each of which goes on with what is there; the last one ends by itself."""
    chance, url = random.Random(seed), address(kind, folder)
    calls: list[Call] = []
    for number in range(3):
        calls += await asyncio.to_thread(killed, url, seed, f"k{number}.", chance.randrange(10, 300))
    calls += await asyncio.to_thread(ran, url, seed, "last.", 20)
    assert violations(calls) == []


async def check_processes(seed: int, folder: Path, acts: int) -> None:
    """Several act on one file at the same time, and one of them is killed."""
    chance, url = random.Random(seed), address("sqlite", folder)
    of_all = await asyncio.gather(
        *(asyncio.to_thread(ran, url, seed, f"p{number}.", acts) for number in range(2)),
        asyncio.to_thread(killed, url, seed, "k.", chance.randrange(10, 100)),
    )
    calls = [each for calls in of_all for each in calls]
    calls += await asyncio.to_thread(ran, url, seed, "last.", 5)
    assert violations(calls) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_FILES)
async def test_what_a_killed_process_acknowledged_is_part_of_the_history(kind: str, tmp_path: Path) -> None:
    """R-STO-2, R-STO-3."""
    await check_killed(kind, 0, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", CAMPAIGN)
@pytest.mark.parametrize("kind", IN_FILES)
async def test_what_many_killed_processes_acknowledged_is_part_of_the_history(
    kind: str, seed: int, tmp_path: Path
) -> None:
    """R-STO-2, R-STO-3."""
    await check_killed(kind, seed, tmp_path)


@pytest.mark.slow
async def test_what_processes_see_at_once_could_have_happened_one_after_the_other(tmp_path: Path) -> None:
    """R-STO-2, R-STO-3."""
    await check_processes(0, tmp_path, 50)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", CAMPAIGN)
async def test_what_processes_see_at_once_could_have_happened_at_many_points(seed: int, tmp_path: Path) -> None:
    """R-STO-2, R-STO-3."""
    await check_processes(seed, tmp_path, 200)
