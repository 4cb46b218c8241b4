"""The journal of an ordered key-value store: written and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ..codec import Codec
from ..model.errors import Moved, NotFound
from ..model.ids import redacted
from . import ordered_keys as keys
from .contract import Entry, Kind, OpenStream
from .ordered_acts import Numbers, found
from .ordered_engine import Engine, View
from .ordered_entries import Place, closed_entry, entry_key, entry_of, entry_value, place_of

PAGE: Final = 1000

Row = tuple[bytes, bytes]


class Append:
    """Writes entries of one session, all or none."""

    __slots__ = ("_codec", "_entries", "_numbers", "_session_id", "_term")

    def __init__(self, session_id: str, term: int, entries: Sequence[Entry], numbers: Numbers, codec: Codec) -> None:
        self._codec = codec
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
            place = _write(view, head.number, entry, self._numbers, self._codec)
            if place is not None and place.kind == Kind.MESSAGE:
                messages += 1
                added += place.size_bytes
        # There also when there is no message: it says that there is something to clear away.
        view.put(sizes_key, keys.sizes_value(messages, size_bytes + added))
        if added:
            view.put(keys.TOTAL, keys.number_value(keys.number_in(view.get(keys.TOTAL)) + added))


def _write(view: View, session: int, entry: Entry, numbers: Numbers, codec: Codec) -> Place | None:
    """Write an entry unless its place is taken, and whatever leads to it."""
    stream = keys.stream_key(keys.ENTRY, session, entry.stream)
    key = entry_key(stream, entry.term, entry.seq)
    if view.get(key) is not None:
        return None
    number = numbers.take()
    size_bytes = len(entry.data) + len(entry.request)
    place = Place(session, number, size_bytes, int(entry.kind), entry.origin, entry.at, key)
    value = place.packed()
    view.put(key, entry_value(key, entry, number, codec))
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


def read_entries(
    engine: Engine, id_bytes: bytes, stream: str, position: tuple[int, int], limit: int, codec: Codec
) -> list[Entry]:
    """Return up to `limit` entries of the stream behind the position, in order."""
    session = _session(engine, id_bytes)
    if session is None:
        return []
    prefix = keys.stream_key(keys.ENTRY, session, stream)
    term, seq = position
    start = entry_key(prefix, term, seq + 1) if term >= 0 else prefix
    rows = engine.iterate(start, keys.after(prefix), limit)
    return [entry_of(*row, codec) for row in rows]


def read_unfinished(engine: Engine, id_bytes: bytes, codec: Codec) -> list[OpenStream]:
    """Return the streams that no final entry closes, oldest first."""
    session = _session(engine, id_bytes)
    if session is None:
        return []
    places = [place_of(value) for _, value in all_under(engine, keys.number_key(keys.OPEN, session))]
    places.sort(key=lambda place: place.number)
    open_: list[OpenStream] = []
    for place in places:
        opening = engine.get(place.key)
        last = engine.iterate(place.stream, keys.after(place.stream), 1, reverse=True)
        if opening is not None and last:
            open_.append(OpenStream(entry_of(place.key, opening, codec), closed_entry(*last[0]).seq))
    return open_


def read_origins(engine: Engine, id_bytes: bytes, first: int, last: int) -> set[int]:
    """Return the origins from `first` to `last` of the entries kept of the session, without 0."""
    session = _session(engine, id_bytes)
    first = max(first, 1)
    if session is None or last < first:
        return set()
    start = keys.number_key(keys.ORIGIN, session, first)
    stop = keys.after(keys.number_key(keys.ORIGIN, session, min(last, keys.U64_MAX)))
    return {keys.origin_in(key) for key, _ in between(engine, start, stop)}


def _session(engine: Engine, id_bytes: bytes) -> int | None:
    value = engine.get(keys.SESSION + id_bytes)
    return None if value is None else keys.head_of(value, id_bytes).number


def all_under(engine: Engine, prefix: bytes) -> Iterator[Row]:
    """Yield all whose key begins with `prefix`."""
    return between(engine, prefix, keys.after(prefix))


def between(engine: Engine, start: bytes, stop: bytes, page: int = PAGE) -> Iterator[Row]:
    """Yield all from `start` on, before `stop`; each page is what was there at one moment."""
    while rows := engine.iterate(start, stop, page):
        yield from rows
        if len(rows) < page:
            return
        start = rows[-1][0] + b"\0"
