"""A program that acts on a store by chance, as one of several: says each call when it begins and when it ends.

Words: the address of the store, the seed, a name of its own, and how many acts each of its tasks does.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from holdfast import open_store
from holdfast.testing.histories import Call, History
from holdfast.testing.history_contract import act_on

KEYS = ["a", "b", "c"]
TASKS = 3


def say(call: Call) -> None:
    # Before the store is asked: what was under way when the program was killed is known to have been.
    sys.stdout.buffer.write(msgspec.json.encode(call) + b"\n")
    sys.stdout.buffer.flush()


async def main(url: str, seed: str, name: str, acts: str) -> None:
    async with open_store(url) as store:
        history = History(store, now=time.monotonic, tell=say)
        await act_on(history, KEYS, seed=int(seed), tasks=TASKS, acts=int(acts), mark=name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
