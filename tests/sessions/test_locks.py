"""Tasks of one process queue up for a session, and who leaves the queue leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Refused
from holdfast.sessions import locks
from holdfast.sessions.locks import SessionLocks


async def waiting(held: SessionLocks, count: int) -> list[asyncio.Task[None]]:
    """Return tasks that wait for the lock, in this order."""
    tasks = [asyncio.create_task(held.acquire("s")) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_first_is_served_first() -> None:
    """R-MGR-4."""
    held = SessionLocks()
    served: list[int] = []

    async def serve(number: int) -> None:
        await held.acquire("s")
        served.append(number)
        await asyncio.sleep(0)
        held.release("s")

    await asyncio.gather(*map(serve, range(50)))
    assert served == list(range(50))
    assert held.is_free("s")


async def test_sessions_do_not_wait_for_each_other() -> None:
    held = SessionLocks()
    assert held.take("s")
    await held.acquire("t")
    assert not held.is_free("s")
    assert not held.is_free("t")


async def test_who_is_cancelled_while_it_is_handed_the_lock_hands_it_on() -> None:
    """R-MGR-4: in the same moment, before or after."""
    held = SessionLocks()
    held.take("s")
    first, second, third = await waiting(held, 3)
    held.release("s")
    first.cancel()
    second.cancel()
    await asyncio.wait({first, second, third})
    assert (first.cancelled(), second.cancelled(), third.cancelled()) == (True, True, False)
    assert not held.is_free("s")
    held.release("s")
    assert held.is_free("s")


async def test_who_is_cancelled_first_is_not_handed_the_lock() -> None:
    held = SessionLocks()
    held.take("s")
    first, second = await waiting(held, 2)
    first.cancel()
    held.release("s")
    await asyncio.wait({first, second})
    assert (first.cancelled(), second.cancelled()) == (True, False)
    held.release("s")
    assert held.is_free("s")


async def test_so_many_wait_and_no_more() -> None:
    """R-MGR-4: a bound on those that wait, not on those that gave up."""
    held = SessionLocks()
    held.take("s")
    tasks = await waiting(held, locks.WAITING_MAX)
    with pytest.raises(Refused, match="10000 tasks wait"):
        await held.acquire("s")
    for task in tasks[1::2]:
        task.cancel()
    await asyncio.sleep(0)
    more = await waiting(held, locks.WAITING_MAX // 2)
    with pytest.raises(Refused):
        await held.acquire("s")
    for task in [*tasks[::2], *more]:
        held.release("s")
        await task
    held.release("s")
    assert held.is_free("s")
