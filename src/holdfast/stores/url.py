"""Opens a store by its address; the only module that knows which address means which engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from ..model.errors import Misused
from .contract import Store
from .memory import MemoryStore

_KNOWN = "memory:// and sqlite:///relative/path or sqlite:////absolute/path"


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Open the store at `url` and close it at the end; what waits is written before it is closed.

    Raises:
        Misused: The address is not understood, or what is there is not a store this version can use.
        Unavailable: It cannot be opened now.
    """
    parts = urlsplit(url)
    if parts.netloc or parts.fragment or (parts.query and parts.scheme != "sqlite"):
        raise Misused(f"the store address {url!r} is not understood; use {_KNOWN}")
    if parts.scheme == "memory" and not parts.path:
        yield MemoryStore()
    elif parts.scheme == "sqlite" and len(parts.path) > 1:
        # Imported late: whoever keeps sessions in memory needs no sqlite3.
        from .sqlite import SqliteStore
        from .sqlite_address import place_of

        path, durability = place_of(parts.path, parts.query)
        async with SqliteStore.open(path, durability=durability) as store:
            yield store
    else:
        raise Misused(f"the store address {url!r} is not understood; use {_KNOWN}")
