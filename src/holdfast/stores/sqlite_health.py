"""Looks, once and in the background, whether the pages of a SQLite file are sound. Nothing waits for the answer.

It has a connection of its own and a thread, and each table is a statement: a checkpoint that comes between two of them
can begin the log anew. A statement reads one state of the file throughout, so the log grows by what is written during
it; that bounds how long the whole may take.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from .sqlite_faults import code_of, damaged

_TABLES: Final = ("counters", "sessions", "journal_sizes", "journal_left", "feed", "feed_parts", "changes", "journal")
_LONGEST_S: Final = 600.0
_STOP_TRIES: Final = 10
_STOP_PAUSE_S: Final = 0.05

_log = logging.getLogger(__name__)


class Health:
    """The health of the file at `path`: `found` is "" until damage is found, then the sentence that says what to do."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.found = ""
        self._path = path
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._unwanted = False
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="the database's health", daemon=True)

    def start(self) -> None:
        """Begin to look; after ten minutes it gives up, and logs that."""
        self._thread.start()
        self._limit = self._loop.call_later(_LONGEST_S, self._give_up)

    async def stop(self) -> None:
        """Break off what is not done; returns after half a second at the latest."""
        self._limit.cancel()
        for _ in range(_STOP_TRIES):
            # Again and again, for SQLite forgets an interruption that comes between two statements.
            self._interrupt()
            await asyncio.wait({self._ended}, timeout=_STOP_PAUSE_S)
            if self._ended.done():
                return

    def _give_up(self) -> None:
        if not self._ended.done():
            _log.warning("%s is too large to be checked in %s s; run holdfast store check", self._path, _LONGEST_S)
            self._interrupt()

    def _interrupt(self) -> None:
        self._unwanted = True
        with self._closing:
            if not self._closed:
                self._connection.interrupt()

    def _run(self) -> None:
        try:
            self._look()
        finally:
            with suppress(RuntimeError):  # the loop was closed without closing the store
                self._loop.call_soon_threadsafe(self._end)

    def _look(self) -> None:
        try:
            for table in _TABLES:
                if self._unwanted:
                    return None
                answer = self._connection.execute(f"PRAGMA quick_check({table})").fetchone()[0]
                if answer != "ok":
                    return self._tell(str(answer))
        except sqlite3.Error as error:
            if code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                self._tell(str(error))
            elif code_of(error) != sqlite3.SQLITE_INTERRUPT:
                _log.warning("%s could not be checked: %s", self._path, error)
        finally:
            with self._closing:
                self._closed = True
                self._connection.close()

    def _tell(self, why: str) -> None:
        self.found = str(damaged(self._path, why.replace("\n", " ")))
        _log.error("%s", self.found)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
