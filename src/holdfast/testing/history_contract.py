"""The suite for what many callers see of a store at the same time."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ..runtime import spawn
from ..stores.contract import Store
from .histories import History, Seen, violations

SEEDS: Final = 10
TASKS: Final = 6
ACTS: Final = 40
KEYS: Final = ("a", "b", "c")


class HistoryContract:
    """R-STO-2: what is done to a record happens at one moment between the call and its answer, for everybody.

    Needs a `store` without records under the ids "a0", "b0", ... It wants nothing but `get`, `put` and `delete`.
    """

    async def test_what_callers_see_at_once_could_have_happened_one_after_the_other(self, store: Store) -> None:
        """R-STO-2."""
        for seed in range(SEEDS):
            await check_history(store, seed)

    async def test_a_call_given_up_takes_effect_once_or_never(self, store: Store) -> None:
        """R-STO-2."""
        for seed in range(SEEDS, 2 * SEEDS):
            await check_history(store, seed, given_up=0.1)


async def check_history(store: Store, seed: int, *, given_up: float = 0.0, acts: int = ACTS) -> None:
    """Have tasks act on a few keys as `seed` says, a share of the calls `given_up`; fail when what they saw cannot be.

    Raises:
        AssertionError: With what is wrong.
    """
    history = History(store)
    keys = [f"{key}{seed}" for key in KEYS]
    await act_on(history, keys, seed=seed, tasks=TASKS, acts=acts, given_up=given_up)
    for key in keys:
        await history.get(key)
    found = violations(history.calls)
    assert not found, f"seed {seed}: " + "\n".join(found)


async def act_on(
    history: History, keys: list[str], *, seed: int, tasks: int, acts: int, given_up: float = 0.0, mark: str = ""
) -> None:
    """Have `tasks` tasks do `acts` acts each on keys chosen by chance; every value written is another."""
    done = [
        _act_by_chance(history, keys, random.Random(f"{seed} {mark} {task}"), f"{mark}{seed}.{task}", acts, given_up)
        for task in range(tasks)
    ]
    await asyncio.gather(*done)


async def _act_by_chance(
    history: History, keys: list[str], chance: random.Random, name: str, acts: int, given_up: float
) -> None:
    last: dict[str, Seen] = {key: await history.get(key) for key in keys}
    for number in range(acts):
        key = chance.choice(keys)
        # A store in memory gives nobody else a turn.
        await asyncio.sleep(0)
        if chance.random() < given_up:
            doing = spawn(_do(history, key, last, chance, f"{name}.{number}"), name="an act that is given up")
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            doing.cancel()
            await asyncio.wait({doing})
            last[key] = await history.get(key)
        else:
            await _do(history, key, last, chance, f"{name}.{number}")


async def _do(history: History, key: str, last: dict[str, Seen], chance: random.Random, value: str) -> None:
    known = last[key]
    version = 0 if known is None else known[0]
    kind, durable = chance.random(), chance.random() < 0.3
    if kind < 0.35:
        last[key] = await history.get(key)
    elif kind < 0.8:
        expect = version if chance.random() < 0.9 else chance.randrange(version + 2)
        done = await history.put(key, value, expect=expect, durable=durable)
        last[key] = (expect + 1, value) if done else await history.get(key)
    else:
        await history.delete(key, expect=chance.choice([None, version]), durable=durable)
        last[key] = await history.get(key) if chance.random() < 0.5 else None
