"""What is sealed in an ordered key-value store: sealed anew, and the dictionaries to compress with.

A step is an act of the writer. Nobody else writes, so what it looked at is what it writes over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any, Final

from ..codec import Codec
from ..codec.envelope import key_of
from ..model.errors import Corrupt
from . import ordered_keys as keys
from .ordered_engine import Engine, View
from .ordered_entries import closed_entry, entry_number, entry_of, entry_value, sealed_in
from .ordered_log import note_of, with_contents
from .sealing import SAMPLES_MAX, SAMPLES_MIN, Step, dictionary_context, resealed

_SESSIONS: Final = 200
_ENTRIES: Final = 16  # each may have 60 MiB
_AT_ONCE: Final = {keys.DICTIONARY: 16, keys.SESSION: _SESSIONS, keys.CHANGE: _SESSIONS, keys.ENTRY: _ENTRIES}
_NEXT: Final = dict(pairwise([*_AT_ONCE, None]))


class OrderedSealed:
    """What one store keeps sealed: `Sealed`."""

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        read: Callable[[Callable[[Engine], Any]], Awaitable[Any]],
        write: Callable[[Callable[[View], Any]], Awaitable[Any]],
    ) -> None:
        self._engine = engine
        self._codec = codec
        self._read = read
        self._write = write

    async def reseal(self, place: bytes | None) -> Step:
        step: Step = await self._write(partial(self._reseal, start=place or keys.DICTIONARY))
        return step

    async def dictionary(self) -> tuple[int, bytes] | None:
        dictionary = await self._read(partial(dictionary_in, codec=self._codec, number=1))
        return None if dictionary is None else (1, dictionary)

    async def samples(self) -> list[bytes]:
        samples: list[bytes] = []
        start: bytes | None = keys.SESSION
        if await self._read(_are_few):
            return samples
        while start is not None and len(samples) < SAMPLES_MAX:
            page, start = await self._read(partial(_samples, start=start, codec=self._codec))
            samples += page
        return samples

    async def keep_dictionary(self, dictionary: bytes) -> None:
        value = self._codec.seal_bytes(dictionary, dictionary_context(1))
        await self._write(lambda view: view.put(keys.number_key(keys.DICTIONARY, 1), value))

    def _reseal(self, view: View, start: bytes) -> Step:
        kind = start[:1]
        limit = _AT_ONCE[kind]
        rows = self._engine.iterate(start, keys.after(kind), limit)
        done = 0
        kept: list[str] = []
        for key, value in rows:
            stale = [part for part in sealed_parts(kind, key, value) if not part.startswith(self._codec.start)]
            if not stale:
                continue
            anew = resealed(partial(_anew, kind, key, value, self._codec))
            if anew is None:
                kept += map(key_of, stale)
            else:
                view.put(key, anew)
                done += 1
        return Step(done, kept, rows[-1][0] + b"\0" if len(rows) == limit else _NEXT[kind])


def dictionary_in(engine: Engine, codec: Codec, number: int) -> bytes | None:
    """Return a dictionary kept in the database; a reader of any thread may want it, once. Blocks."""
    value = engine.get(keys.number_key(keys.DICTIONARY, number))
    if value is None:
        return None
    return codec.open_bytes(value, dictionary_context(number), what=f"compression dictionary {number}")


def _are_few(engine: Engine) -> bool:
    return len(engine.iterate(keys.SESSION, keys.after(keys.SESSION), SAMPLES_MIN)) < SAMPLES_MIN


def _samples(engine: Engine, start: bytes, codec: Codec) -> tuple[list[bytes], bytes | None]:
    rows = engine.iterate(start, keys.after(keys.SESSION), _SESSIONS)
    found = [resealed(partial(codec.sample, keys.sealed_of(value), _id_in(key))) for key, value in rows]
    return [each for each in found if each], rows[-1][0] + b"\0" if len(rows) == _SESSIONS else None


def _id_in(key: bytes) -> str:
    return key[1:].decode(errors="replace")


def sealed_parts(kind: bytes, key: bytes, value: bytes) -> list[bytes]:
    """Return what a codec sealed in a value, once or twice; an empty part of one that lies in clear or is damaged."""
    if kind == keys.SESSION:
        return [keys.sealed_of(value)]
    if kind == keys.DICTIONARY:
        return [value]
    try:
        if kind == keys.CHANGE:
            note = note_of(key, value)
            return [note.sealed, note.before] if note.before else [note.sealed]
        closed_entry(key, value)
    except Corrupt:
        return [b""]
    return [sealed_in(value)]


def _anew(kind: bytes, key: bytes, value: bytes, codec: Codec) -> bytes:
    """Return the value with what is sealed in it sealed anew."""
    if kind == keys.SESSION:
        sealed, head = keys.sealed_of(value), keys.head_of(value, key[1:])  # a damaged one stays as it is
        if head.created_at is None:
            # Who has not the key must know it too: whoever replaces the store (ordered_replace.py).
            head = head._replace(created_at=codec.open(sealed, _id_in(key)).created_at)
        return head.packed(key[1:]) + codec.reseal(sealed, _id_in(key))
    if kind == keys.DICTIONARY:
        number = int.from_bytes(key[1:], "big")
        context = dictionary_context(number)
        return codec.seal_bytes(codec.open_bytes(value, context), context)
    if kind == keys.CHANGE:
        note = note_of(key, value)
        session_id = note.id_bytes.decode()
        before = codec.reseal(note.before, session_id) if note.before else b""
        return with_contents(key, value, codec.reseal(note.sealed, session_id), before)
    return entry_value(key, entry_of(key, value, codec), entry_number(value), codec)
