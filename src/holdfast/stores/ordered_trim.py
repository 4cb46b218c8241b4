"""The journal of an ordered key-value store: kept within its bounds, and cleared of deleted sessions, step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import Final

from ..model.errors import Corrupt
from . import ordered_keys as keys
from .contract import JournalBounds, Kind
from .ordered_engine import Engine, View
from .ordered_entries import Place, closed_entry, entry_number, place_of
from .ordered_journal import Row, between

_STEP: Final = 1000
_STEP_BYTES: Final = 8 * 2**20
_STREAM_PAGE: Final = 16


class OrderedTrim:
    """Deletes in acts of the writer, each of at most 1,000 entries or about 8 MiB, so that nobody waits long.

    `run` has a function done by the writer that looks at ranges of the engine. Each step looks itself at what is there:
    one that fails leaves the work of those before.
    """

    def __init__(self, engine: Engine, run: Callable[[Callable[[View], int]], Awaitable[int]]) -> None:
        self._engine = engine
        self._run = run
        self._after = b""

    async def clear(self) -> None:
        """Clear away what is left of deleted sessions."""
        while await self._run(self._clear):
            pass

    async def trim(self, bounds: JournalBounds, now: float) -> int:
        """Trim by age, then each session, then all together; return how many entries went."""
        await self.clear()
        oldest = now - bounds.age_s_max
        trimmed = await self._repeat(lambda view: self._aged(view, oldest))
        self._after = keys.END_BY_AGE
        while self._after:
            trimmed += await self._run(lambda view: self._streams(view, oldest))
        over: list[int] = []
        self._after = keys.SIZES
        while self._after:
            await self._run(lambda view: self._over(bounds, over))
        for session in over:
            trimmed += await self._repeat(partial(self._session, session=session, bounds=bounds))
        return trimmed + await self._repeat(lambda view: self._total(view, bounds.total_bytes_max))

    async def _repeat(self, step: Callable[[View], int]) -> int:
        trimmed = 0
        while gone := await self._run(step):
            trimmed += gone
        return trimmed

    def _clear(self, view: View) -> int:
        """Take away up to a step of what is left of one deleted session."""
        marks = self._engine.iterate(keys.CLEARED, keys.after(keys.CLEARED), 1)
        if not marks:
            return 0
        session = keys.session_in(marks[0][0])
        left = _STEP
        for kind in (keys.MESSAGE, keys.ENTRY, keys.ORIGIN, keys.OPEN, keys.FINAL):
            prefix = keys.number_key(kind, session)
            rows = self._engine.iterate(prefix, keys.after(prefix), left)
            for key, value in rows:
                view.put(key, None)
                for other in _leads_to(kind, session, key, value):
                    view.put(other, None)
            left -= len(rows)
            if left <= 0:
                return _STEP
        view.put(marks[0][0], None)
        return _STEP - left + 1

    def _aged(self, view: View, oldest: float) -> int:
        rows = self._engine.iterate(keys.MESSAGE_BY_AGE, keys.MESSAGE_BY_AGE + keys.float_key(oldest), _STEP)
        return _remove(view, rows)

    def _streams(self, view: View, oldest: float) -> int:
        """Take away the openings and final entries, of one page, of streams of which nothing is young enough."""
        stop = keys.END_BY_AGE + keys.float_key(oldest)
        rows = self._engine.iterate(self._after, stop, _STEP)
        self._after = rows[-1][0] + b"\0" if len(rows) == _STEP else b""
        young: dict[bytes, bool] = {}
        gone = []
        for key, value in rows:
            try:
                place = place_of(value)
            except Corrupt:
                continue
            if place.stream not in young:
                young[place.stream] = self._is_young(place.stream, oldest)
            if not young[place.stream]:
                gone.append((key, value))
                for kind in (keys.OPEN, keys.FINAL):
                    view.put(kind + place.stream[1:], None)
        return _remove(view, gone)

    def _is_young(self, stream: bytes, oldest: float) -> bool:
        """Tell whether anything in the stream is; messages that are not are gone already, so it is soon found."""
        return any(
            closed_entry(*row).at >= oldest for row in between(self._engine, stream, keys.after(stream), _STREAM_PAGE)
        )

    def _over(self, bounds: JournalBounds, over: list[int]) -> int:
        """Note the sessions, of one page, whose messages exceed a bound."""
        rows = self._engine.iterate(self._after, keys.after(keys.SIZES), _STEP)
        self._after = rows[-1][0] + b"\0" if len(rows) == _STEP else b""
        for key, value in rows:
            messages, size_bytes = keys.sizes_in(value)
            if messages > bounds.session_entries_max or size_bytes > bounds.session_bytes_max:
                over.append(keys.session_in(key))
        return 0

    def _session(self, view: View, session: int, bounds: JournalBounds) -> int:
        messages, size_bytes = keys.sizes_in(self._engine.get(keys.number_key(keys.SIZES, session)))
        prefix = keys.number_key(keys.MESSAGE, session)
        too_many, too_much = messages - bounds.session_entries_max, size_bytes - bounds.session_bytes_max
        if too_many <= 0 and too_much <= 0:
            return 0
        rows = self._engine.iterate(prefix, keys.after(prefix), _STEP)
        return _remove(view, rows, max(too_many, 0), too_much)

    def _total(self, view: View, bytes_max: int) -> int:
        too_much = keys.number_in(self._engine.get(keys.TOTAL)) - bytes_max
        if too_much <= 0:
            return 0
        rows = self._engine.iterate(keys.MESSAGE_BY_AGE, keys.after(keys.MESSAGE_BY_AGE), _STEP)
        return _remove(view, rows, 0, too_much)


def _leads_to(kind: bytes, session: int, key: bytes, value: bytes) -> list[bytes]:
    """Return the keys that lead to an entry by its age; none when it cannot be read."""
    try:
        if kind == keys.MESSAGE:
            return place_of(value).every_key()
        if kind == keys.ENTRY:
            entry = closed_entry(key, value)
            number = entry_number(value)
            return [Place(session, number, 0, int(entry.kind), entry.origin, entry.at, key).by_age()]
    except Corrupt:
        pass  # what leads to it is passed over, and goes by age
    return []


def _remove(view: View, rows: Sequence[Row], too_many: float = inf, too_much: float = inf) -> int:
    """Take entries away by their places, in order, until neither bound is exceeded or the step is full."""
    gone = gone_bytes = 0
    sizes: dict[int, tuple[int, int]] = {}
    for index, value in rows:
        if gone_bytes >= _STEP_BYTES or (gone >= too_many and gone_bytes >= too_much):
            break
        view.put(index, None)
        gone += 1
        try:
            place = place_of(value)
        except Corrupt:
            continue
        for key in place.every_key():
            view.put(key, None)
        if place.kind == Kind.MESSAGE:
            gone_bytes += place.size_bytes
            messages, size_bytes = sizes.get(place.session, (0, 0))
            sizes[place.session] = messages + 1, size_bytes + place.size_bytes
    _count(view, sizes)
    return gone


def _count(view: View, gone: dict[int, tuple[int, int]]) -> None:
    """Count what is gone of each session no more. A deleted one is not counted already."""
    total = 0
    for session, (messages, size_bytes) in gone.items():
        key = keys.number_key(keys.SIZES, session)
        stored = view.get(key)
        if stored is not None:
            had = keys.sizes_in(stored)
            view.put(key, keys.sizes_value(max(had[0] - messages, 0), max(had[1] - size_bytes, 0)))
            total += size_bytes
    if total:
        view.put(keys.TOTAL, keys.number_value(max(keys.number_in(view.get(keys.TOTAL)) - total, 0)))
