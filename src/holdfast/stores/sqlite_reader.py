"""Reads from a SQLite file: gets that wait together become one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ..codec import Codec
from ..model.errors import Corrupt
from ..model.ids import redacted
from ..model.session import Record
from .lane import Act
from .sqlite_faults import translated
from .sqlite_file import statement

_replaced: Final = msgspec.structs.replace


class Read(Act):
    """An act of the reader: `get` for one record, else a function of the connection."""

    __slots__ = ("run", "session_id")

    def __init__(self, session_id: str = "", run: Callable[[sqlite3.Connection], Any] | None = None) -> None:
        super().__init__()
        self.session_id = session_id
        self.run = run


class Reader:
    """Answers batches of reads; runs on the reader's thread only."""

    def __init__(self, connection: sqlite3.Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        connection.execute("PRAGMA query_only = ON")

    def read(self, acts: Sequence[Read]) -> None:
        """Answer `acts`; each is told its result or its error."""
        gets = [act for act in acts if act.run is None]
        if gets:
            self._get(gets)
        for act in acts:
            if act.run is not None:
                try:
                    act.result = act.run(self._connection)
                except Exception as error:  # it belongs to the caller
                    act.error = translated(error)

    def _get(self, gets: list[Read]) -> None:
        try:
            wanted = msgspec.json.encode([act.session_id for act in gets]).decode()
            rows = {row[0]: row for row in self._connection.execute(statement("get"), (wanted,))}
        except Exception as error:  # it belongs to the callers
            if len(gets) == 1:
                gets[0].error = translated(error)
            else:
                # A damaged page concerns only the records on it.
                for act in gets:
                    self._get([act])
            return
        for act in gets:
            row = rows.get(act.session_id)
            if row is not None:
                try:
                    act.result = record_from(row, self._codec)
                except Exception as error:  # it belongs to the caller
                    act.error = error


def record_from(row: Sequence[Any], codec: Codec) -> Record:
    """Return the record of a row (id, version, term, last_accessed, body).

    Raises:
        Corrupt: The body is damaged, or is not the one that the columns speak of.
        KeyMissing: It is sealed under a key that is not in the key ring.
        Misused: A newer version of Holdfast wrote it.
    """
    session_id, version, term, last_accessed, body = row
    if not isinstance(body, bytes) or not isinstance(last_accessed, float):
        raise Corrupt(f"the row of session {redacted(session_id)} is damaged; restore it or delete it")
    record = codec.open(body, session_id)
    if (record.version, record.term) != (version, term) or last_accessed < record.last_accessed:
        raise Corrupt(f"the row of session {redacted(session_id)} does not fit its record; restore it or delete it")
    return record if last_accessed == record.last_accessed else _replaced(record, last_accessed=last_accessed)
