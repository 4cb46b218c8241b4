"""A SQLite file that is dumped as it is: to back it up must neither make one nor bring it to a newer schema."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from ..codec import Codec
from ..model.errors import Misused
from .contract import DumpPage, StoreInfo
from .sqlite_address import Durability
from .sqlite_dump import dumped
from .sqlite_faults import not_opened
from .sqlite_file import connect
from .sqlite_sealing import dictionary_in
from .sqlite_upkeep import SqliteUpkeep, opened


class SqliteReading:
    """The file at `path`, of this schema or an earlier one: `Dumped`, but for loading, and `Described`."""

    def __init__(self, path: Path, durability: Durability, codec: Codec, schema: int) -> None:
        self._path = path
        self._codec = codec.of_store(partial(dictionary_in, path, codec))
        self._durability = durability
        self._schema = schema

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, durability: Durability, codec: Codec) -> AsyncIterator[SqliteReading]:
        """Look what it is; nothing is kept open.

        Raises:
            Misused, Corrupt, Unavailable: As `sqlite_upkeep.opened`.
        """
        yield cls(path, durability, codec, await asyncio.to_thread(_schema_of, path))

    @asynccontextmanager
    async def dump(self, *, journal: bool = True) -> AsyncIterator[AsyncIterator[DumpPage]]:
        connection = await asyncio.to_thread(_connected, self._path)
        async with dumped(connection, self._codec, journal=journal) as pages:
            yield pages

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        raise Misused(f"{self._path} was opened to be dumped; open it as a store to load it")

    async def info(self) -> StoreInfo:
        return StoreInfo(kind="sqlite", durability=self._durability, schema=self._schema, health="ok", shared=True)

    async def count(self, now: float) -> dict[str, int]:
        upkeep = SqliteUpkeep(self._path, self._durability, self._codec)
        return (await asyncio.to_thread(upkeep.inspect, now)).sessions


def _schema_of(path: Path) -> int:
    with opened(path) as (_, schema):
        return schema


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return connect(path)
    except sqlite3.Error as error:
        raise not_opened(path, error) from error
