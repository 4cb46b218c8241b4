"""Records that were read or written last, kept in memory so that most reads wait for nothing.

One process has the database to itself, so what is kept can be right at every moment: what is being written is taken out
before it is written and put in after, and what was read is put in only if nobody began to write it meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Final

from ..model.session import Record

BYTES_MAX: Final = 96 * 2**20
_RECORD_BYTES: Final = 700  # about what a record takes beside its metadata


class Recent:
    """Records by id, 96 MiB at most; those put in first go first. `find` is the loop's, the rest the threads'."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._records: OrderedDict[str, Record] = OrderedDict()  # whose first is found at once, whatever went before
        self._read: dict[str, object] = {}
        self._written: frozenset[str] = frozenset()
        self._lock = Lock()
        self.find = self._records.get
        """Return the record as it is stored, or None: it may be stored all the same."""

    def begin_read(self, session_id: str) -> object | None:
        """Return what `end_read` wants, before the record is read."""
        with self._lock:
            if session_id in self._written:
                return None
            mark = self._read[session_id] = object()
            return mark

    def end_read(self, session_id: str, mark: object | None, record: Record | None) -> None:
        """Put in what was read, unless it may have been written since; None if there is nothing, or it failed."""
        if mark is None:
            return
        with self._lock:
            if self._read.get(session_id) is mark:
                del self._read[session_id]
                if record is not None:
                    self._put(record)

    def begin_write(self, ids: Iterable[str]) -> None:
        """Take out what is to be written next."""
        with self._lock:
            self._written = frozenset(ids)
            for session_id in self._written:
                self._read.pop(session_id, None)
                self._drop(session_id)

    def end_write(self, records: Mapping[str, Record]) -> None:
        """Put in those of the records that are stored now."""
        with self._lock:
            self._written = frozenset()
            for record in records.values():
                self._put(record)

    def close(self) -> None:
        """Let go of all, for good."""
        with self._lock:
            self._bytes_max = self._bytes = 0
            self._records.clear()

    def _put(self, record: Record) -> None:
        self._drop(record.id)
        self._records[record.id] = record
        self._bytes += _RECORD_BYTES + len(record.metadata)
        while self._bytes > self._bytes_max:
            self._forget(self._records.popitem(last=False)[1])

    def _drop(self, session_id: str) -> None:
        record = self._records.pop(session_id, None)
        if record is not None:
            self._forget(record)

    def _forget(self, record: Record) -> None:
        self._bytes -= _RECORD_BYTES + len(record.metadata)
