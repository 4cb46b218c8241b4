"""Records what concurrent callers of a store did and saw, and checks that it could have happened one after the other.

A history is linearizable when each call can be given a moment between its beginning and its end at which it takes
effect, so that a store that does one thing at a time would have answered the same (Herlihy and Wing, "Linearizability",
1990). Keys are independent of each other, so each is checked alone. The search is Wing and Gong's with Lowe's memory of
what was tried ("Testing for linearizability", 2017).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count
from math import inf
from typing import Final, Literal, TypeAlias

import msgspec

from ..model.errors import Misused, Unavailable, VersionConflict
from ..stores.contract import Store
from .records import record_of

STEPS_MAX: Final = 2_000_000

Seen: TypeAlias = tuple[int, str] | None
"""What is stored under a key: version and value, or None."""
Act: TypeAlias = Literal["get", "put", "delete"]


class Call(msgspec.Struct, kw_only=True):
    """One call and its outcome.

    `expect` is the version that a put or delete wants (None: any), `value` what a put writes. `seen` is what a get
    returned, `did` whether a put or delete said that it did it. While the outcome is unknown `ended` is None and these
    are unset: the call may take effect at any later time, or never. `number` counts the calls of one recorder.
    """

    key: str
    act: Act
    began: float
    expect: int | None = None
    value: str = ""
    ended: float | None = None
    seen: Seen = None
    did: bool = False
    number: int = 0


class History:
    """Passes calls on to a store and records them in `calls`.

    `now` must grow with every event that can be told apart; calls recorded by several processes need one that they
    share, such as `time.monotonic`. `tell` is given each call when it begins, before the store is, and when it ends.
    """

    def __init__(
        self, store: Store, *, now: Callable[[], float] | None = None, tell: Callable[[Call], None] | None = None
    ) -> None:
        self._store = store
        self._now = now or count().__next__
        self._tell = tell or (lambda _: None)
        self.calls: list[Call] = []

    async def get(self, key: str) -> Seen:
        """Return what is stored under `key`. A get without an answer says nothing, and counts for nothing."""
        call = self._begin(Call(key=key, act="get", began=self._now()))
        try:
            record = await self._store.get(key)
        except Unavailable:
            return None
        call.seen = None if record is None else (record.version, record.owner or "")
        self._end(call)
        return call.seen

    async def put(self, key: str, value: str, *, expect: int, durable: bool = True) -> bool:
        """Write `value` if the version is `expect`; return whether it is known to have been written."""
        call = self._begin(Call(key=key, act="put", began=self._now(), expect=expect, value=value))
        try:
            await self._store.put(record_of(key, version=expect + 1, owner=value), expect=expect, durable=durable)
            call.did = True
        except VersionConflict:
            call.did = False
        except Unavailable:
            return False
        self._end(call)
        return call.did

    async def delete(self, key: str, *, expect: int | None = None, durable: bool = True) -> bool:
        """Delete what is under `key` if its version is `expect`; return whether it is known to have been deleted."""
        call = self._begin(Call(key=key, act="delete", began=self._now(), expect=expect))
        try:
            expected = None if expect is None else record_of(key, version=expect)
            call.did = await self._store.delete(key, expect=expected, durable=durable)
        except Unavailable:
            return False
        self._end(call)
        return call.did

    def _begin(self, call: Call) -> Call:
        call.number = len(self.calls)
        self.calls.append(call)
        self._tell(call)
        return call

    def _end(self, call: Call) -> None:
        call.ended = self._now()
        self._tell(call)


def violations(calls: Iterable[Call]) -> list[str]:
    """Return one sentence for each key whose calls could not have happened one after the other; none is good.

    Raises:
        Misused: The history of a key takes more than 2,000,000 steps to check; record fewer calls at once.
    """
    by_key: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.act != "get" or call.ended is not None:
            by_key[call.key].append(call)
    return [said for key, of_key in sorted(by_key.items()) if (said := _violation(key, of_key))]


class _Event:
    """The beginning of a call, which leads to its end, or an end; a node of a list from which calls can be lifted."""

    __slots__ = ("bit", "call", "end", "next", "prior")

    def __init__(self, call: Call | None, bit: int = 0, end: _Event | None = None) -> None:
        self.call = call
        self.bit = bit
        self.end = end
        self.prior = self.next = self

    def lift(self) -> None:
        self.prior.next, self.next.prior = self.next, self.prior

    def put_back(self) -> None:
        self.prior.next = self.next.prior = self


def _violation(key: str, calls: list[Call]) -> str:
    """Return what is wrong with the history of one key, or nothing."""
    head, known = _listed(calls), sum(call.ended is not None for call in calls)
    order: list[tuple[_Event, Seen]] = []
    state: Seen = None
    done = done_known = steps = 0
    tried: set[tuple[int, Seen]] = set()
    longest: tuple[int, Seen, list[Call]] = (-1, None, [])
    at = head.next
    while done_known < known:
        if (steps := steps + 1) > STEPS_MAX:
            raise Misused(f"the history of {key!r}, {len(calls)} calls, takes too long to check; record fewer at once")
        if at.end is not None and at.call is not None:
            fits, after = _step(state, at.call)
            if fits and (done | at.bit, after) not in tried:
                tried.add((done | at.bit, after))
                order.append((at, state))
                state, done, done_known = after, done | at.bit, done_known + (at.call.ended is not None)
                at.lift()
                at.end.lift()
                at = head.next
            else:
                at = at.next
            continue
        # Here a call has ended, or all have begun, that cannot have taken effect in this order.
        if done_known > longest[0]:
            longest = (done_known, state, _waiting(head))
        if not order:
            wanted = "; ".join(map(_shown, longest[2]))
            return f"{key}: after {longest[0]} of {known} calls it holds {longest[1]}, and none of these fits: {wanted}"
        at, state = order.pop()
        assert at.call is not None
        assert at.end is not None
        done, done_known = done ^ at.bit, done_known - (at.call.ended is not None)
        at.end.put_back()
        at.put_back()
        at = at.next
    return ""


def _listed(calls: list[Call]) -> _Event:
    """Return the head of a ring of all beginnings and ends in order. At one moment, beginnings come before ends."""
    found: list[tuple[float, int, _Event]] = []
    for number, call in enumerate(calls):
        end = _Event(None)
        found += (call.began, 0, _Event(call, 1 << number, end)), (inf if call.ended is None else call.ended, 1, end)
    found.sort(key=lambda each: each[:2])
    head = last = _Event(None)
    for _, _, event in found:
        last.next, event.prior = event, last
        last = event
    last.next, head.prior = head, last
    return head


def _step(state: Seen, call: Call) -> tuple[bool, Seen]:
    """Tell whether a call could have had its outcome where `state` is stored, and what is stored then.

    One whose outcome is unknown fits only where it changes something: elsewhere it may as well come at the end.
    """
    if call.act == "get":
        return call.seen == state, state
    version = 0 if state is None else state[0]
    if call.act == "put":
        does = version == call.expect
        after: Seen = (version + 1, call.value)
    else:
        does = state is not None and call.expect in (None, version)
        after = None
    fits = does if call.ended is None else does == call.did
    return fits, after if does else state


def _waiting(head: _Event) -> list[Call]:
    """Return the calls that are next in a list: those that began before the first of its ends."""
    found: list[Call] = []
    event = head.next
    while event.call is not None:
        found.append(event.call)
        event = event.next
    return found


def _shown(call: Call) -> str:
    if call.act == "get":
        return f"get -> {call.seen}"
    what = f"put {call.value!r}" if call.act == "put" else "delete"
    outcome = "unknown" if call.ended is None else "done" if call.did else "refused"
    return f"{what} at {call.expect} -> {outcome}"
