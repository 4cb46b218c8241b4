"""The feed of an ordered key-value store: read back, and kept within its bounds. Acts note what they write (`Log`)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt, KeyMissing, Misused
from ..model.session import Record
from . import ordered_keys as keys
from .contract import Change, ChangeKind, Changes, FeedBounds, Past
from .feed_cursor import FeedCursor, cursor_from, elsewhere, expired, mark_of, too_early
from .feed_parts import Part, given_up
from .left_out import LeftOut
from .ordered_engine import Engine, View
from .ordered_log import Log, Note, Standing, change_key, note_of, part_row, parts_of, standing_of

_PAGE_BYTES: Final = 8 * 2**20
_READ_AT_ONCE: Final = 64
_WINDOW: Final = 2000
_STEP: Final = 1000

_replaced: Final = msgspec.structs.replace

Row = tuple[bytes, bytes]


def begin_feed(engine: Engine, now: float) -> None:
    """Have a store keep a feed from now on, if it does not yet. Blocks."""
    if engine.get(keys.FEED) is None:
        horizon = now if engine.iterate(keys.SESSION, keys.after(keys.SESSION), 1) else 0.0
        standing = Standing(secrets.token_hex(8), horizon, 0, 0)
        engine.write(dict([(keys.FEED, standing.packed()), part_row(Part(1))]), sync=True)


class OrderedFeed:
    """Reads the feed on the reader's thread, and trims it on the writer's in steps, so that nobody waits long."""

    def __init__(
        self,
        engine: Engine,
        log: Log,
        read: Callable[[Callable[[Engine], Any]], Awaitable[Any]],
        write: Callable[[Callable[[View], int]], Awaitable[int]],
        codec: Codec,
    ) -> None:
        self._codec = codec
        self._engine = engine
        self._log = log
        self._read = read
        self._write = write
        self._trimmed = 0
        self._left_out = LeftOut("a change of session %s is left out of the feed: %s")

    async def changes(self, after: str | None, limit: int) -> Changes:
        """Do what `Feed.changes` does."""
        cursor = None if after is None else cursor_from(after)
        changes: Changes = await self._read(partial(self._changes, cursor=cursor, limit=limit))
        return changes

    async def position(self) -> str:
        """Do what `Feed.position` does."""
        position: str = await self._read(_position)
        return position

    async def state_at(self, at: float, changed: bool, cursor: str | None, limit: int) -> Past:
        """Do what `Feed.state_at` does: first by what is stored, then by what was changed since."""
        start = _start(cursor) if cursor is not None else (keys.CHANGE if changed else keys.SESSION)
        past: Past = await self._read(partial(self._past, at=at, start=start, limit=limit))
        return past

    async def trim(self, bounds: FeedBounds, now: float) -> int:
        """Do what `Feed.trim_changes` does."""
        while await self._write(partial(self._measure, bounds=bounds, now=now)):
            pass
        trimmed = self._trimmed = 0
        while gone := await self._write(self._trim):
            trimmed += gone
        return trimmed

    def _changes(self, engine: Engine, cursor: FeedCursor | None, limit: int) -> Changes:
        start = max(0 if cursor is None else cursor.n, standing_of(engine).trimmed)
        rows, is_end = _page(engine, change_key(start + 1), limit)
        # Invariant: this is read last. Whatever was trimmed before the rows were read is known here.
        standing = standing_of(engine)
        if cursor is None:
            cursor = FeedCursor(standing.name, standing.trimmed, 0)
        elif cursor.store != standing.name:
            raise elsewhere()
        elif cursor.n < standing.trimmed or (cursor.n > standing.trimmed and cursor.mark != _mark(engine, cursor.n)):
            raise expired(lost=cursor.n > standing.trimmed)
        changes: list[Change] = []
        for row in rows:
            number = keys.session_in(row[0])
            note = self._note(row)
            if note is None:
                cursor = FeedCursor(standing.name, number, 0)
                continue
            try:
                record = self._readable(note.id_bytes, note.sealed, note.last_accessed)
            except (KeyMissing, Misused):
                if not changes:
                    raise
                return Changes(changes, str(cursor), False)  # whoever goes on from there is told why
            cursor = FeedCursor(standing.name, number, mark_of(note.id_bytes.decode(), note.at, note.kind))
            if record is not None:
                changes.append(Change(ChangeKind(note.kind), note.at, record, str(cursor)))
        return Changes(changes, str(cursor), is_end)

    def _past(self, engine: Engine, at: float, start: bytes, limit: int) -> Past:
        window = min(_WINDOW, limit)
        if start[:1] == keys.SESSION:
            rows = engine.iterate(start, keys.after(keys.SESSION), window)
            images = self._stored(rows, at)
            following = keys.CHANGE
        else:
            start = max(start, change_key(standing_of(engine).trimmed + 1))
            rows = engine.iterate(start, keys.after(keys.CHANGE), window)
            images = self._before(engine, rows, at)
            following = b""
        records = [record for image in images if (record := self._readable(*image, None)) is not None]
        horizon = standing_of(engine).horizon  # read last, as above
        if at < horizon:
            raise too_early(at, horizon)
        end = rows[-1][0] + b"\0" if len(rows) == window else following
        return Past(records, end.hex() or None)

    def _stored(self, rows: Sequence[Row], at: float) -> Iterator[tuple[bytes, bytes]]:
        """Yield what was stored by the moment and still is."""
        for key, value in rows:
            try:
                head = keys.head_of(value, key[1:])
            except Corrupt as error:
                self._left_out.tell(key[1:], error)
                continue
            if head.written_at <= at:
                yield key[1:], keys.sealed_of(value)

    def _before(self, engine: Engine, rows: Sequence[Row], at: float) -> Iterator[tuple[bytes, bytes]]:
        """Yield what was there before each change that is the first of its session after the moment."""
        trimmed = standing_of(engine).trimmed
        for row in rows:
            note = self._note(row)
            if note is None or note.at <= at:
                continue
            was = None
            if note.previous > trimmed:
                key = change_key(note.previous)
                value = engine.get(key)
                was = None if value is None else self._note((key, value))
            if was is None:
                image = note.sealed if ChangeKind(note.kind).is_end else note.before
            else:
                image = was.sealed if was.at <= at else b""
            if image:
                yield note.id_bytes, image

    def _measure(self, view: View, bounds: FeedBounds, now: float) -> bool:
        """Measure a step of what came since; at its end, begin a new part and give up old ones. Tell if more is left.

        Invariant: the horizon is moved together with what says which changes go, and before they do.
        """
        standing = standing_of(self._engine)
        *parts, part = parts_of(self._engine)
        rows, is_end = _page(self._engine, change_key(max(standing.measured, standing.trimmed) + 1), _STEP)
        if rows:
            moments = [note.at for row in rows if (note := self._note(row)) is not None] or [now]
            part = part.with_step(min(moments), max(moments), sum(len(value) for _, value in rows))
            standing = standing._replace(measured=keys.session_in(rows[-1][0]))
            view.put(*part_row(part))
        if is_end:
            parts.append(part)
            if part.is_full(bounds, now):
                parts.append(Part(standing.measured + 1))
                view.put(*part_row(parts[-1]))
                self._log.part_first = parts[-1].first
            gone = given_up(parts, bounds, now)
            for each in parts[:gone]:
                standing = standing._replace(horizon=max(standing.horizon, each.ended_at))
                view.put(part_row(each)[0], None)
            if gone:
                standing = standing._replace(trimmed=parts[gone].first - 1)
        view.put(keys.FEED, standing.packed())
        return not is_end

    def _trim(self, view: View) -> int:
        stop = change_key(standing_of(self._engine).trimmed + 1)
        rows, _ = _page(self._engine, change_key(self._trimmed), _STEP, stop)
        for key, _ in rows:
            view.put(key, None)
        if rows:
            # Engines go through what was taken away one by one: the next step begins behind it.
            self._trimmed = keys.session_in(rows[-1][0])
        return len(rows)

    def _note(self, row: Row) -> Note | None:
        try:
            return note_of(*row)
        except Corrupt as error:
            self._left_out.tell(row[0], error)
            return None

    def _readable(self, id_bytes: bytes, sealed: bytes, last_accessed: float | None) -> Record | None:
        try:
            record = self._codec.open(sealed, id_bytes.decode())
        except Corrupt as error:
            self._left_out.tell(id_bytes, error)
            return None
        if last_accessed is None or last_accessed == record.last_accessed:
            return record
        return _replaced(record, last_accessed=last_accessed)


def _position(engine: Engine) -> str:
    newest = engine.iterate(keys.CHANGE, keys.after(keys.CHANGE), 1, reverse=True)
    standing = standing_of(engine)
    number = max(standing.trimmed, keys.session_in(newest[0][0]) if newest else 0)
    return str(FeedCursor(standing.name, number, _mark(engine, number)))


def _mark(engine: Engine, number: int) -> int:
    """Return the mark of a change, 0 if it is not there or cannot be read."""
    key = change_key(number)
    value = engine.get(key)
    if value is None:
        return 0
    try:
        note = note_of(key, value)
    except Corrupt:
        return 0
    return mark_of(note.id_bytes.decode(), note.at, note.kind)


def _page(engine: Engine, start: bytes, limit: int, stop: bytes = b"") -> tuple[list[Row], bool]:
    """Return up to `limit` changes from `start` on, about 8 MiB, and whether there are no more before `stop`."""
    stop = stop or keys.after(keys.CHANGE)
    rows: list[Row] = []
    size_bytes = 0
    while len(rows) < limit and size_bytes < _PAGE_BYTES:
        wanted = min(_READ_AT_ONCE, limit - len(rows))
        found = engine.iterate(start, stop, wanted)
        rows += found
        if len(found) < wanted:
            return rows, True
        size_bytes += sum(len(value) for _, value in found)
        start = found[-1][0] + b"\0"
    return rows, False


def _start(cursor: str) -> bytes:
    try:
        start = bytes.fromhex(cursor)
    except ValueError:
        start = b""
    if start[:1] not in (keys.SESSION, keys.CHANGE):
        raise Misused("this is not a cursor of the past of this store; pass one that it returned")
    return start
