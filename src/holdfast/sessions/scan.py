"""An iterator over sessions that can be continued where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ..model.clock import Clock
from ..model.errors import Misused
from ..model.session import Record
from ..stores.contract import Page, Query, Store
from . import rules

T = TypeVar("T")

_PAGE: Final = 500


class Scan(Generic[T]):
    """Yields what matches a query and is not expired, page by page. One task at a time asks it for the next."""

    def __init__(
        self, store: Store, query: Query, clock: Clock, made: Callable[[Record], T], cursor: str | None = None
    ) -> None:
        self._store = store
        self._query = query
        self._clock = clock
        self._made = made
        self._cursor = cursor
        self._page: Page | None = None
        self._at = 0
        self._reading = False

    @property
    def cursor(self) -> str | None:
        """Where a later scan with the same arguments continues, also in another process; None: at the start."""
        return self._cursor

    def __aiter__(self) -> Scan[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            page = self._page
            if page is None or self._at >= len(page.records):
                if page is not None and page.cursor is None:
                    raise StopAsyncIteration
                await self._read(self._cursor if page is None else page.cursor)
                continue
            at = self._at
            self._at = at + 1
            self._cursor = page.cursors[at]
            record = page.records[at]
            if not rules.is_expired(record, self._clock.now()):
                return self._made(record)

    async def _read(self, cursor: str | None) -> None:
        if self._reading:
            raise Misused("another task waits for this scan; one task at a time iterates it, or give each its own")
        self._reading = True
        try:
            self._page = await self._store.scan(self._query, cursor=cursor, limit=_PAGE)
            self._at = 0
        finally:
            self._reading = False
