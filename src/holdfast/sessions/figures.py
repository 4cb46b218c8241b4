"""How a manager and its store stand, and whom it tells of what it does."""

from __future__ import annotations

from typing import TypeVar

from ..model.errors import Misused
from ..stores.contract import Described, StoreInfo
from .acts import Acts
from .metrics import Metrics
from .subscriptions import WAITING_MAX, Handler, Subscription

M = TypeVar("M")


class Figures(Acts[M]):
    """Says what a manager has done, and what it does."""

    def subscribe(self, handler: Handler, *kinds: type, waiting_max: int = WAITING_MAX) -> Subscription:
        """Have `handler`, sync or async, told of what this manager does from now on: events of `kinds`, or all.

        It is called on the event loop, after the act, with one event at a time; those of one session come in order,
        each once at most. A sync one must not block. It can neither fail nor stall an act: what it raises is logged,
        and of the events that find `waiting_max` others waiting it is told the number only (`EventsMissed`). Each that
        waits holds the record of its session, metadata included. What other processes do to a store they share is not
        told here.

        Raises:
            Misused: The handler is no function, a kind no event, or `waiting_max` no int of 1 or more.
        """
        return self._subscriptions.add(handler, kinds, waiting_max)

    async def metrics(self) -> Metrics:
        """Return what was counted so far. With SQLite, counting what is stored takes a while, off the loop.

        Raises:
            Misused: The store does not count what it keeps.
        """
        by_state = await self._described().count(self._now())
        return self._meter.read(by_state, sum(each.missed for each in self._subscriptions.all))

    async def store_info(self) -> StoreInfo:
        """Return what the store is and how it stands.

        Raises:
            Misused: It does not say.
        """
        return await self._described().info()

    def _described(self) -> Described:
        if not isinstance(self._store, Described):
            raise Misused(f"{type(self._store).__name__} does not say what it keeps; implement Described")
        return self._store
