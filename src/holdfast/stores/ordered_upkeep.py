"""Looks after the folder of an ordered key-value store: what it is, whether it is sound, what can be saved of it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from ..codec import Codec
from ..codec.envelope import key_of
from ..model.errors import Corrupt, KeyMissing, Misused
from ..model.ids import redacted
from . import leveldb, rocksdb
from . import ordered_keys as keys
from .address import is_there
from .contract import Dumped, DumpPage, StoreInfo
from .ordered_dump import Dump
from .ordered_engine import Engine
from .ordered_entries import entry_of
from .ordered_folder import MARKER, hold, schema_in
from .ordered_log import note_of
from .ordered_pages import count_states, record_of
from .ordered_replace import DRIVERS, OrderedReplacement
from .ordered_salvage import Around
from .ordered_sealing import dictionary_in, sealed_parts
from .upkeep import NAMED_MAX, Findings, Inspection, Progress, Repaired
from .url import open_store

_AT_ONCE: Final = 200
_TOLD_EVERY: Final = 1000
_TERMS_PASSED_OVER: Final = 1000
_SALVAGE: Final[dict[str, Callable[[Path], None]]] = {leveldb.KIND: leveldb.salvage, rocksdb.KIND: rocksdb.salvage}


class OrderedUpkeep:
    """Looks after the folder at `path`, which no process may have open: `Upkeep`."""

    def __init__(self, kind: str, path: Path, codec: Codec) -> None:
        self._kind = kind
        self._path = path
        self._codec = codec

    def inspect(self, now: float) -> Inspection:
        with self._held() as held, self._opened() as engine:
            sessions: Counter[str] = Counter({"active": 0, "terminated": 0})
            start = keys.SESSION
            while start:
                page = count_states(engine, now, start)
                sessions.update(active=page.active, terminated=page.terminated)
                start = page.next
            counted = Counter(
                key_of(part)
                for kind in (keys.SESSION, keys.CHANGE, keys.ENTRY, keys.DICTIONARY)
                for key, value in _rows(Around(engine), kind)
                for part in sealed_parts(kind, key, value)
            )
            info = StoreInfo(kind=self._kind, durability="full", schema=schema_in(held), health="ok", shared=False)
        size_bytes = sum(file.stat().st_size for file in self._path.iterdir() if file.is_file())
        return Inspection(info=info, sessions=dict(sessions), size_bytes=size_bytes, log_bytes=0, keys=dict(counted))

    def check(self, progress: Progress) -> Findings:
        with self._held(), self._opened() as engine:
            return _findings(engine, progress, self._bound(engine))

    def repair(self, progress: Progress) -> Repaired:
        self._refuse_unless_there()
        replacement = OrderedReplacement(self._kind, self._path)
        try:
            replacement.begin()
            return self._repaired(replacement, progress)
        finally:
            replacement.close()

    def _repaired(self, replacement: OrderedReplacement, progress: Progress) -> Repaired:
        engine = replacement.old
        if engine is None:
            progress("copying the folder", 0, 0)
            engine = DRIVERS[self._kind]()(replacement.copy_of_old(_SALVAGE[self._kind]))
        try:
            findings = _findings(engine, progress, self._bound(engine))
            if findings.sound and engine is replacement.old:
                return Repaired(
                    kept="", sessions=findings.records, entries=0, lost_sessions=0, named=(), lost_entries=0
                )
            self._refuse_unless_saved(findings)
            saved = _Saved(Dump(Around(engine), self._bound(engine)), progress)
            asyncio.run(self._fill(replacement.new_url, saved))
        finally:
            if engine is not replacement.old:
                engine.close()
        progress("putting it in its place", 0, 0)
        return Repaired(
            kept=replacement.exchange(),
            sessions=saved.sessions,
            entries=saved.entries,
            lost_sessions=len(saved.damaged),
            named=tuple(map(redacted, saved.damaged[:NAMED_MAX])),
            lost_entries=saved.lost_entries,
        )

    def _refuse_unless_saved(self, findings: Findings) -> None:
        if findings.newer:
            raise Misused(f"{self._path} holds records of a newer Holdfast; repair it with that one")
        if findings.locked:
            why = f"{self._path} holds {findings.locked:,} sessions under keys that were not given"
            raise KeyMissing(f"{why}; add them to the key file", key_id="")
        if not findings.records:
            raise Corrupt(f"{self._path} has no session that can be read; restore it from a backup")

    async def _fill(self, url: str, saved: _Saved) -> None:
        async with open_store(url, codec=self._codec) as store:
            assert isinstance(store, Dumped)
            await store.load(saved.pages())

    def _bound(self, engine: Engine) -> Codec:
        return self._codec.of_store(partial(dictionary_in, engine, self._codec))

    def _refuse_unless_there(self) -> None:
        if not is_there(self._path / MARKER):
            raise Misused(f"{self._path} is not there, or no {self._kind} store; name the folder of one")

    @contextmanager
    def _held(self) -> Iterator[int]:
        self._refuse_unless_there()
        held = hold(self._path, self._kind)
        try:
            yield held
        finally:
            os.close(held)

    @contextmanager
    def _opened(self) -> Iterator[Engine]:
        engine = DRIVERS[self._kind]()(self._path)
        try:
            yield engine
        finally:
            engine.close()


class _Saved:
    """What is saved of a damaged store, and what is not."""

    def __init__(self, dump: Dump, progress: Progress) -> None:
        self._dump = dump
        self._progress = progress
        self.sessions = self.entries = self.lost_entries = 0
        self.damaged: list[str] = []

    async def pages(self) -> AsyncIterator[DumpPage]:
        """Yield what can be read. Terms go on behind any that was given out."""
        self._dump.begin()
        start = keys.SESSION
        while start:
            page, start = self._dump.records(start)
            self.damaged += page.damaged
            self.sessions += len(page.records)
            self._progress("saving sessions", self.sessions, 0)
            yield DumpPage(term=page.term + _TERMS_PASSED_OVER, records=page.records)
            for session_id, first in self._dump.journals:
                at = first
                while at:
                    page, at = self._dump.entries(session_id, at)
                    self.entries += len(page.entries)
                    self.lost_entries += page.lost_entries
                    yield DumpPage(term=page.term + _TERMS_PASSED_OVER, entries=page.entries)


def _findings(engine: Engine, progress: Progress, codec: Codec) -> Findings:
    """Open every record, and look at every entry and change."""
    counts: Counter[str] = Counter()
    pages: list[str] = []
    named: list[str] = []
    around = Around(engine)
    for key, value in _rows(around, keys.SESSION):
        outcome = _state_of(key[1:], value, codec)
        counts[outcome] += 1
        if outcome == "damaged":
            named.append(redacted(key[1:].decode(errors="replace")))
        if counts.total() % _TOLD_EVERY == 0:
            progress("opening records", counts.total(), 0)
    for kind, what, look in (
        (keys.ENTRY, "entries of journals", partial(entry_of, codec=codec)),
        (keys.CHANGE, "changes of the feed", note_of),
    ):
        lost = sum(_is_damaged(look, key, value) for key, value in _rows(around, kind))
        if lost:
            pages.append(f"{lost:,} {what} are damaged")
    if around.trouble:
        pages.append(around.trouble)
    records = counts["whole"] + counts["newer"] + counts["locked"]
    return Findings(
        pages=tuple(pages),
        records=records,
        newer=counts["newer"],
        locked=counts["locked"],
        damaged=counts["damaged"],
        named=tuple(named[:NAMED_MAX]),
    )


def _state_of(id_bytes: bytes, value: bytes, codec: Codec) -> str:
    try:
        record_of(id_bytes.decode(errors="replace"), keys.head_of(value, id_bytes), value, codec)
    except KeyMissing:
        return "locked"
    except Misused:
        return "newer"
    except Corrupt:
        return "damaged"
    return "whole"


def _is_damaged(look: Callable[[bytes, bytes], object], key: bytes, value: bytes) -> bool:
    try:
        look(key, value)
    except KeyMissing:
        return False
    except Corrupt:
        return True
    return False


def _rows(around: Around, kind: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = kind
    while True:
        rows = around.iterate(start, keys.after(kind), _AT_ONCE)
        yield from rows
        if len(rows) < _AT_ONCE:
            return
        start = rows[-1][0] + b"\0"
