"""The journal of an ordered key-value store: written, read, and kept within its bounds in bounded steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Final

from ..model.errors import Corrupt, Moved, NotFound
from ..model.ids import redacted
from . import ordered_keys as keys
from .contract import Entry, JournalBounds, Kind, OpenStream
from .ordered_acts import Numbers, found
from .ordered_engine import Engine, View
from .ordered_keys import Place

_STEP: Final = 1000
_STEP_BYTES: Final = 8 * 2**20
_PAGE: Final = 1000
_STREAM_PAGE: Final = 16

Row = tuple[bytes, bytes]


class Append:
    """Writes entries of one session, all or none."""

    __slots__ = ("_entries", "_numbers", "_session_id", "_term")

    def __init__(self, session_id: str, term: int, entries: Sequence[Entry], numbers: Numbers) -> None:
        self._session_id = session_id
        self._term = term
        self._entries = entries
        self._numbers = numbers

    def __call__(self, view: View) -> None:
        id_bytes = keys.id_key(self._session_id)
        stored = None if id_bytes is None else found(view, id_bytes)
        if stored is None:
            raise NotFound(f"session {redacted(self._session_id)} is not there")
        head = stored[0]
        if head.term > self._term:
            raise Moved(
                f"session {redacted(self._session_id)} has term {head.term}; the entries came from {self._term}"
            )
        sizes_key = keys.number_key(keys.SIZES, head.number)
        sizes = view.get(sizes_key)
        messages, size_bytes = keys.sizes_in(sizes)
        added = 0
        for entry in self._entries:
            place = _write(view, head.number, entry, self._numbers)
            if place is not None and place.kind == Kind.MESSAGE:
                messages += 1
                added += place.size_bytes
        # There also when there is no message: it says that there is something to clear away.
        view.put(sizes_key, keys.sizes_value(messages, size_bytes + added))
        if added:
            view.put(keys.TOTAL, keys.number_value(keys.number_in(view.get(keys.TOTAL)) + added))


def _write(view: View, session: int, entry: Entry, numbers: Numbers) -> Place | None:
    """Write an entry unless its place is taken, and whatever leads to it."""
    stream = keys.stream_key(keys.ENTRY, session, entry.stream)
    key = keys.entry_key(stream, entry.term, entry.seq)
    if view.get(key) is not None:
        return None
    number = numbers.take()
    size_bytes = len(entry.data) + len(entry.request)
    place = Place(session, number, size_bytes, int(entry.kind), entry.origin, entry.at, key)
    value = place.packed()
    view.put(key, keys.entry_value(key, entry, number))
    view.put(place.by_age(), value)
    if entry.origin:
        view.put(keys.number_key(keys.ORIGIN, session, entry.origin, number), b"")
    if entry.kind == Kind.MESSAGE:
        view.put(keys.number_key(keys.MESSAGE, session, number), value)
        return place
    opening, final = (keys.stream_key(kind, session, entry.stream) for kind in (keys.OPEN, keys.FINAL))
    if entry.kind == Kind.FINAL:
        view.put(final, b"")
        view.put(opening, None)
    elif view.get(final) is None:
        view.put(opening, value)
    return place


def read_entries(engine: Engine, id_bytes: bytes, stream: str, position: tuple[int, int], limit: int) -> list[Entry]:
    """Return up to `limit` entries of the stream behind the position, in order."""
    session = _session(engine, id_bytes)
    if session is None:
        return []
    prefix = keys.stream_key(keys.ENTRY, session, stream)
    term, seq = position
    start = keys.entry_key(prefix, term, seq + 1) if term >= 0 else prefix
    rows = engine.iterate(start, keys.after(prefix), limit)
    return [keys.entry_of(*row) for row in rows]


def read_unfinished(engine: Engine, id_bytes: bytes) -> list[OpenStream]:
    """Return the streams that no final entry closes, oldest first."""
    session = _session(engine, id_bytes)
    if session is None:
        return []
    places = [keys.place_of(value) for _, value in _all(engine, keys.number_key(keys.OPEN, session))]
    places.sort(key=lambda place: place.number)
    open_: list[OpenStream] = []
    for place in places:
        opening = engine.get(place.key)
        last = engine.iterate(place.stream, keys.after(place.stream), 1, reverse=True)
        if opening is not None and last:
            open_.append(OpenStream(keys.entry_of(place.key, opening), keys.entry_of(*last[0]).seq))
    return open_


def read_origins(engine: Engine, id_bytes: bytes, first: int, last: int) -> set[int]:
    """Return the origins from `first` to `last` of the entries kept of the session, without 0."""
    session = _session(engine, id_bytes)
    first = max(first, 1)
    if session is None or last < first:
        return set()
    start = keys.number_key(keys.ORIGIN, session, first)
    stop = keys.after(keys.number_key(keys.ORIGIN, session, min(last, keys.U64_MAX)))
    return {keys.origin_in(key) for key, _ in _between(engine, start, stop)}


def _session(engine: Engine, id_bytes: bytes) -> int | None:
    value = engine.get(keys.SESSION + id_bytes)
    return None if value is None else keys.head_of(value, id_bytes).number


def _all(engine: Engine, prefix: bytes) -> Iterator[Row]:
    return _between(engine, prefix, keys.after(prefix))


def _between(engine: Engine, start: bytes, stop: bytes, page: int = _PAGE) -> Iterator[Row]:
    while rows := engine.iterate(start, stop, page):
        yield from rows
        if len(rows) < page:
            return
        start = rows[-1][0] + b"\0"


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
                place = keys.place_of(value)
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
            keys.entry_of(*row).at >= oldest for row in _between(self._engine, stream, keys.after(stream), _STREAM_PAGE)
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
            return keys.place_of(value).every_key()
        if kind == keys.ENTRY:
            entry = keys.entry_of(key, value)
            number = keys.entry_number(value)
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
            place = keys.place_of(value)
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
