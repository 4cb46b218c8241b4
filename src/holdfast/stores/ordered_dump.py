"""Everything in an ordered key-value store as it was at one moment, and a store filled with what such a dump gave.

While a store is being filled a mark of its own is in it, so that what a kill leaves half filled is never opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final

from ..codec import Codec
from ..model.errors import Corrupt, Misused, NotFound
from ..model.ids import redacted
from ..model.session import Record
from ..runtime import uncancelled
from . import ordered_keys as keys
from .contract import DumpedEntry, DumpPage
from .ordered_acts import Numbers, write
from .ordered_engine import Engine, Moment, View
from .ordered_entries import entry_number, entry_of
from .ordered_journal import Append, Row
from .ordered_keys import Head
from .ordered_log import Log
from .ordered_pages import record_of
from .turns import Turns

_ITEMS: Final = 100
_BYTES: Final = 2**20
_READ_AT_ONCE: Final = 50
_CLEARED_AT_ONCE: Final = 1000
# Under these all is written that is loaded.
_LOADED: Final = (
    keys.SESSION,
    keys.DUE,
    keys.ENTRY,
    keys.MESSAGE,
    keys.MESSAGE_BY_AGE,
    keys.END_BY_AGE,
    keys.ORIGIN,
    keys.OPEN,
    keys.FINAL,
    keys.SIZES,
    keys.TOTAL,
)


class Dump:
    """Reads pages of one moment of a database; all but the making in one thread."""

    def __init__(self, moment: Moment, codec: Codec) -> None:
        self._moment = moment
        self._codec = codec
        self._term = 0
        self.journals: list[tuple[str, bytes]] = []
        """Of the sessions of the last page of records those that have a journal, and where it begins."""

    def begin(self) -> None:
        """Read the last term."""
        self._term = keys.number_in(self._value(keys.TERM))

    def records(self, start: bytes) -> tuple[DumpPage, bytes]:
        """Return records from the key `start` on, and the key behind them, empty at the end of all."""
        rows, end = self._rows(start, keys.after(keys.SESSION))
        page = DumpPage(term=self._term)
        self.journals = []
        for key, value in rows:
            session_id = key[1:].decode(errors="replace")
            try:
                head = keys.head_of(value, key[1:])
                page.records.append(record_of(session_id, head, value, self._codec))
            except Corrupt:
                page.damaged.append(session_id)
                continue
            if self._value(keys.number_key(keys.SIZES, head.number)) is not None:
                self.journals.append((session_id, keys.number_key(keys.ENTRY, head.number)))
        return page, end

    def entries(self, session_id: str, start: bytes) -> tuple[DumpPage, bytes]:
        """Return entries of a session from the key `start` on, and the key behind them, empty at their end."""
        rows, end = self._rows(start, keys.after(start[:9]))
        entries: list[DumpedEntry] = []
        lost = 0
        for key, value in rows:
            try:
                entries.append(DumpedEntry(session_id, entry_number(value), entry_of(key, value, self._codec)))
            except Corrupt:
                lost += 1
        return DumpPage(term=self._term, entries=entries, lost_entries=lost), end

    def _value(self, key: bytes) -> bytes | None:
        found = self._moment.iterate(key, key + b"\0", 1)
        return found[0][1] if found else None

    def _rows(self, start: bytes, stop: bytes) -> tuple[list[Row], bytes]:
        rows: list[Row] = []
        size_bytes = 0
        while len(rows) < _ITEMS and size_bytes < _BYTES:
            found = self._moment.iterate(start, stop, _READ_AT_ONCE)
            rows += found
            size_bytes += sum(len(value) for _, value in found)
            if len(found) < _READ_AT_ONCE:
                return rows, b""
            start = found[-1][0] + b"\0"
        return rows, start


async def dumped(turns: Turns, dump: Dump, *, journal: bool) -> AsyncIterator[DumpPage]:
    """Yield everything of the dump's moment; see `Dumped.dump`."""
    start = keys.SESSION
    while start:
        page, start = await turns.do(partial(dump.records, start))
        yield page
        for session_id, first in dump.journals if journal else []:
            at = first
            while at:
                page, at = await turns.do(partial(dump.entries, session_id, at))
                yield page


class _Given(Numbers):
    """Gives one number, that of an entry, and notes whether it was taken."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.taken = False

    def take(self) -> int:
        self.taken = True
        return self._number


class Load:
    """Fills an empty store in acts of its writer, which `write` has done and synced."""

    def __init__(
        self,
        engine: Engine,
        numbers: Numbers,
        log: Log,
        run: Callable[[Callable[[View], Any]], Awaitable[Any]],
        codec: Codec,
        now: float,
    ) -> None:
        self._engine = engine
        self._numbers = numbers
        self._log = log
        self._run = run
        self._codec = codec
        self._now = now
        self._first = self._last = 0
        self._term = 0

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        """See `Dumped.load`."""
        await self._run(self._begin)
        try:
            async for page in pages:
                await self._run(partial(self._write, page=page))
            await self._run(self._end)
        except BaseException:
            await uncancelled(self._clear_all(), name="clear what was loaded away")
            raise

    def _begin(self, view: View) -> None:
        if self._engine.iterate(keys.SESSION, keys.after(keys.SESSION), 1):
            raise Misused("the store has sessions already; load into an empty one")
        self._first = self._last = self._numbers.take()
        view.put(keys.LOADING, b"")

    def _write(self, view: View, page: DumpPage) -> None:
        self._term = max(self._term, page.term)
        for record in page.records:
            self._write_session(view, record)
        for each in page.entries:
            number = self._first + each.number
            given = _Given(number)
            try:
                Append(each.session_id, keys.U64_MAX, [each.entry], given, self._codec)(view)
            except NotFound:
                continue
            if not given.taken:
                raise Corrupt(f"an entry of session {redacted(each.session_id)} is there twice")
            self._last = max(self._last, number)

    def _write_session(self, view: View, record: Record) -> None:
        id_bytes = record.id.encode()
        if view.get(keys.SESSION + id_bytes) is not None:
            raise Corrupt(f"session {redacted(record.id)} is there twice")
        head = Head.of(record, self._numbers.take(), -inf, self._now, 0)
        write(view, id_bytes, None, head, self._codec.seal(record))

    def _end(self, view: View) -> None:
        self._numbers.pass_over(self._last)
        self._log.begin_anew(view, self._numbers.take(), self._now)
        view.put(keys.TERM, keys.number_value(max(self._term, keys.number_in(view.get(keys.TERM)))))
        view.put(keys.LOADING, None)

    async def _clear_all(self) -> None:
        while await self._run(self._clear):
            pass

    def _clear(self, view: View) -> int:
        """Take away a page of what was loaded, the mark at last; return how much."""
        gone = 0
        for kind in _LOADED:
            for key, _ in self._engine.iterate(kind, keys.after(kind), _CLEARED_AT_ONCE):
                view.put(key, None)
                gone += 1
        if not gone:
            view.put(keys.LOADING, None)
        return gone


def refuse_half_filled(engine: Engine, path: Path) -> None:
    """Raise `Misused` for a store that a load which was broken off has left."""
    if engine.get(keys.LOADING) is not None:
        raise Misused(f"{path} was being filled when that was broken off; remove the folder, and restore it again")
