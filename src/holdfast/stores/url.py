"""Opens a store by its address; the only module that knows which address means which engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote

from ..codec import PLAIN, Codec
from ..model.clock import Clock
from ..model.errors import Misused
from .address import split_address
from .contract import Dumped, Store
from .memory import MemoryStore

_KNOWN = "memory:// and sqlite:///relative/path or sqlite:////absolute/path, or leveldb: or rocksdb: instead of sqlite:"


# Imported late: whoever keeps sessions in memory needs no sqlite3, and each of the others is an extra.
def _sqlite(parts: SplitResult, codec: Codec, clock: Clock | None) -> AbstractAsyncContextManager[Store]:
    from .sqlite import SqliteStore
    from .sqlite_address import place_of

    path, durability = place_of(parts.path, parts.query)
    return SqliteStore.open(path, durability=durability, codec=codec, clock=clock)


def _leveldb(parts: SplitResult, codec: Codec, clock: Clock | None) -> AbstractAsyncContextManager[Store]:
    from . import leveldb
    from .ordered import OrderedStore

    return OrderedStore.open(leveldb.KIND, leveldb.driver, _path_of(parts), codec=codec, clock=clock)


def _rocksdb(parts: SplitResult, codec: Codec, clock: Clock | None) -> AbstractAsyncContextManager[Store]:
    from . import rocksdb
    from .ordered import OrderedStore

    return OrderedStore.open(rocksdb.KIND, rocksdb.driver, _path_of(parts), codec=codec, clock=clock)


def _path_of(parts: SplitResult) -> Path:
    return Path(unquote(parts.path[1:]))


_IN_FILES: Final = {"sqlite": _sqlite, "leveldb": _leveldb, "rocksdb": _rocksdb}


@asynccontextmanager
async def open_store(url: str, *, codec: Codec = PLAIN, clock: Clock | None = None) -> AsyncIterator[Store]:
    """Open the store at `url` and close it at the end; what waits is written before it is closed.

    What is kept on a disk is sealed by `codec`; in memory nothing is. `clock` says when what its feed tells of was
    written; the system's by default.

    Raises:
        Misused: The address is not understood, its extra is not installed, or what is there is not a store this version
            can use.
        Unavailable: It cannot be opened now.
        Corrupt: The database is damaged.
    """
    parts = split_address(url)
    if not isinstance(codec, Codec):
        raise Misused(f"codec is a Codec, not {type(codec).__name__}; pass Codec(keys=..., compress=...)")
    if parts.netloc or parts.fragment or (parts.query and parts.scheme != "sqlite"):
        raise Misused(f"the store address {url!r} is not understood; use {_KNOWN}")
    if parts.scheme == "memory" and not parts.path:
        yield MemoryStore()
    elif parts.scheme in _IN_FILES and len(parts.path) > 1:
        async with _IN_FILES[parts.scheme](parts, codec, clock) as store:
            yield store
    else:
        raise Misused(f"the store address {url!r} is not understood; use {_KNOWN}")


@asynccontextmanager
async def open_to_dump(url: str, *, codec: Codec = PLAIN) -> AsyncIterator[Dumped]:
    """Open the store at `url` for dumps alone. A SQLite file is read as it is: not made, nor brought to a new schema.

    Raises:
        Misused, Unavailable, Corrupt: As `open_store`. Also `Misused` when there is no such SQLite file.
    """
    parts = split_address(url)
    if parts.scheme == "sqlite" and not parts.netloc and not parts.fragment and len(parts.path) > 1:
        from .sqlite_address import place_of
        from .sqlite_reading import SqliteReading

        async with SqliteReading.open(*place_of(parts.path, parts.query), codec) as reading:
            yield reading
        return
    async with open_store(url, codec=codec) as store:
        if not isinstance(store, Dumped):
            raise Misused(f"the store {url!r} cannot be dumped")
        yield store
