"""What a store does by itself with what its codec sealed: seals it anew under the current key, and learns to compress.

Where to look and what to do there is the store's own (`Sealed`); when, how much at once, and what is told is here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from ..codec import Codec
from ..model.errors import Corrupt, HoldfastError, KeyMissing, Misused

SEALING_S: Final = 1.0
SAMPLES_MIN: Final = 1000
SAMPLES_MAX: Final = 2000
_TOLD_MAX: Final = 100

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """What a step did: how many were sealed anew, the keys of those that could not be, and where to go on, or None."""

    resealed: int
    kept: Sequence[str]
    next: Any


class Sealed(Protocol):
    """What a store keeps sealed. Each step is bounded, and done as one: killed in one, a store has not begun it."""

    async def reseal(self, place: Any) -> Step:
        """Seal anew a bounded part of what begins at `place`, None being the beginning."""
        ...

    async def dictionary(self) -> tuple[int, bytes] | None:
        """Return the dictionary kept last and its number, or None."""
        ...

    async def samples(self) -> list[bytes]:
        """Return up to `SAMPLES_MAX` records as dictionaries are trained on them, fewer than 1,000 if there are."""
        ...

    async def keep_dictionary(self, dictionary: bytes) -> None:
        """Keep a first dictionary; nothing happens where one is kept already."""
        ...


class Sealing:
    """Seals a store anew once for each opening, and has its codec learn a dictionary once there are enough records.

    `older` is how many of what cannot be sealed anew lie under each key, "" those in clear; None until all was looked
    at, and always without a key ring. What other processes with another current key write meanwhile is not in it.
    """

    def __init__(self, codec: Codec, sealed: Sealed) -> None:
        self._codec = codec
        self._sealed = sealed
        self._place: Any = None
        self._done = 0
        self._kept: Counter[str] = Counter()
        self._untrainable = False
        self._told: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self.older: dict[str, int] | None = None

    async def begin(self) -> None:
        """Compress with the dictionary that is kept, if one is."""
        if self._codec.compress:
            await self._do(self._learn_kept)

    async def run(self) -> None:
        """Do what there is to do; what goes wrong is logged once, and tried again by the next call."""
        async with self._one_at_a_time:
            await self._do(self._learn)
            await self._do(self._reseal)

    async def _do(self, act: Callable[[], Awaitable[object]]) -> None:
        try:
            await act()
        except HoldfastError as error:
            if str(error) not in self._told and len(self._told) < _TOLD_MAX:
                self._told.add(str(error))
                _log.warning("what was written stays as it was sealed, for now: %s", error)

    async def _reseal(self) -> None:
        if self._codec.keys is None or self.older is not None:
            return
        while self.older is None:
            step = await self._sealed.reseal(self._place)
            self._done += step.resealed
            self._kept.update(step.kept)
            self._place = step.next
            if step.next is None:
                self.older = dict(self._kept)
        if self._done or self._kept:
            _log.info("%d records and entries were sealed anew; %d could not be", self._done, self._kept.total())

    async def _learn(self) -> None:
        if not self._codec.compress or self._codec.dictionary or self._untrainable or await self._learn_kept():
            return
        samples = await self._sealed.samples()
        if len(samples) < SAMPLES_MIN:
            return
        from ..codec.compress import train

        dictionary = await asyncio.to_thread(train, samples)
        if dictionary is None:
            self._untrainable = True
            return
        await self._sealed.keep_dictionary(dictionary)
        await self._learn_kept()  # another process may have been first

    async def _learn_kept(self) -> bool:
        kept = await self._sealed.dictionary()
        if kept is not None:
            self._codec.learn(*kept)
        return kept is not None


def dictionary_context(number: int) -> bytes:
    """Return what a dictionary is bound to."""
    return b"dictionary\0%d" % number


def resealed(seal: Callable[[], bytes]) -> bytes | None:
    """Return what was sealed anew, or None where it cannot be: whoever reads it is told why."""
    try:
        return seal()
    except (Corrupt, KeyMissing, Misused):
        return None
