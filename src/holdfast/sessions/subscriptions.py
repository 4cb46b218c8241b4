"""Tells subscribers what happened, behind the back of whoever made it happen."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from ..model.clock import stopwatch_ns
from ..model.errors import Misused
from ..runtime import spawn
from . import rules
from .events import EventsMissed, SessionEvent

_log = logging.getLogger(__name__)

WAITING_MAX: Final = 10_000
_TURN_NS: Final = 1_000_000

Handler: TypeAlias = Callable[[Any], Awaitable[object] | object]

_told: Final[ContextVar[Subscription | None]] = ContextVar("told", default=None)
"""The subscription whose handler runs here, also in the tasks that it begins."""


class Subscription:
    """One subscriber: events wait here until its handler has taken those before, each once, in order.

    `missed` counts the events that found `waiting_max` others waiting; in their place the handler gets `EventsMissed`.
    What the handler raises is logged, and the next event comes, also when it raises `CancelledError` or cancels its
    task. The bound is a number: each event that waits holds the record of its session, encoded metadata included.
    """

    def __init__(self, handler: Handler, kinds: tuple[type, ...], waiting_max: int, ended: Callable[..., None]) -> None:
        self.missed = 0
        self._handler = handler
        self._kinds = kinds
        self._waiting_max = waiting_max
        self._ended = ended
        self._waiting: deque[SessionEvent[Any] | EventsMissed] = deque()
        self._gap = 0
        self._telling: asyncio.Task[None] | None = None
        self._closed = False
        self._given_up = False

    def push(self, event: SessionEvent[Any]) -> None:
        """Have the handler told, unless the event is of no kind that was asked for."""
        if not isinstance(event, self._kinds) or self._closed:
            return
        if len(self._waiting) >= self._waiting_max:
            self._gap += 1
            self.missed += 1
            return
        self._note_gap()
        self._waiting.append(event)
        if self._telling is None:
            self._telling = spawn(self._tell(), name="tell a subscriber")

    async def close(self, *, within_s: float = 5.0) -> None:
        """Take no more events; return when the handler has had those that wait, or after `within_s` seconds.

        Then the handler is cancelled, and what still waits is dropped, which is logged. Called by the handler, or by a
        task that it began, this returns at once: the events that wait come when the handler is done with this one.

        Raises:
            Misused: `within_s` is no number of seconds, 0 or more.
        """
        within_s = rules.wait_s(within_s, "within_s")
        self._closed = True
        self._ended(self)
        if _told.get() is self:
            return
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        while (telling := self._telling) is not None:  # when the handler cancels the one, another one goes on
            _, late = await asyncio.wait({telling}, timeout=max(0.0, ends_at - loop.time()))
            if late:
                self._given_up = True
                telling.cancel()
                _log.warning("a subscriber did not take its last %d events in %g s", len(self._waiting) + 1, within_s)
                return

    def _note_gap(self) -> None:
        if self._gap:
            self._waiting.append(EventsMissed(self._gap))
            self._gap = 0

    async def _tell(self) -> None:
        _told.set(self)
        task = asyncio.current_task()
        assert task is not None
        began = stopwatch_ns()
        try:
            while self._waiting and not task.cancelling():
                if stopwatch_ns() - began > _TURN_NS:  # others have theirs now
                    await asyncio.sleep(0)
                    began = stopwatch_ns()
                try:
                    outcome = self._handler(self._waiting.popleft())
                    if inspect.isawaitable(outcome):
                        await outcome
                except asyncio.CancelledError:
                    if task.cancelling():
                        raise
                    _log.exception("a subscriber raised CancelledError; it gets the next event all the same")
                except Exception:
                    _log.exception("a subscriber failed; it gets the next event all the same")
                if not self._waiting:
                    self._note_gap()
        finally:
            self._telling = None
            if self._waiting and not self._given_up:  # the handler cancelled this task: what waits is not lost
                self._telling = spawn(self._tell(), name="tell a subscriber")


class Subscriptions:
    """The subscribers of one manager."""

    __slots__ = ("all",)

    def __init__(self) -> None:
        self.all: tuple[Subscription, ...] = ()

    def add(self, handler: Handler, kinds: tuple[type, ...], waiting_max: int) -> Subscription:
        """Tell `handler` of events of these kinds, or of all without any, from now on.

        Raises:
            Misused: The handler cannot be called, a kind is no event, or `waiting_max` is no int of 1 or more.
        """
        if not callable(handler):
            raise Misused(f"a handler is a function of an event, not {type(handler).__name__}")
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, SessionEvent)):
                raise Misused(f"{kind!r} is no kind of event; name subclasses of SessionEvent")
        subscription = Subscription(
            handler, kinds or (SessionEvent,), rules.count(waiting_max, "waiting_max"), self._remove
        )
        self.all += (subscription,)
        return subscription

    def publish(self, event: SessionEvent[Any]) -> None:
        """Let every subscriber know; nobody is waited for."""
        for subscription in self.all:
            subscription.push(event)

    async def close(self, *, within_s: float) -> None:
        """Tell them what waits, all at once, and have none any more."""
        await asyncio.gather(*(subscription.close(within_s=within_s) for subscription in self.all))

    def _remove(self, subscription: Subscription) -> None:
        self.all = tuple(each for each in self.all if each is not subscription)
