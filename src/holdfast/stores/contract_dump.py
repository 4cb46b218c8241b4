"""What a store promises that can be backed up, copied and filled: everything there is, as pages."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import msgspec

from ..model.session import Record
from .contract_journal import Entry


class DumpedEntry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An entry of the journal of a session, and its place among all entries of the store.

    `number` is from 1 to 2**62, unique in a dump, and grows in the order of writing.
    """

    session_id: str
    number: int
    entry: Entry


class DumpPage(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A part of everything that a store keeps: at most 500 records or entries, and not much more than 1 MiB.

    `term` is the last term given out, the same in every page. `damaged` are ids of sessions whose record cannot be
    read, so that it is not in the dump, nor is what belongs to it; `lost_entries` counts entries that cannot be read.
    `expected` says in the first page how many records there are, 0 when that takes too long to find out.
    """

    term: int = 0
    records: list[Record] = []
    entries: list[DumpedEntry] = []
    damaged: list[str] = []
    lost_entries: int = 0
    expected: int = 0


@runtime_checkable
class Dumped(Protocol):
    """An ability of stores: gives everything out, as it was at one moment, and takes it in."""

    def dump(self, *, journal: bool = True) -> AbstractAsyncContextManager[AsyncIterator[DumpPage]]:
        """Give pages of everything there was at the moment of entering, while others go on writing.

        What was acknowledged before that moment is in them, and no write of which an earlier one is missing. Each
        record comes once, before its entries; there is one page at least. Without `journal` there are no entries. What
        is never written (`BesideStore.hold`) is left out.

        Raises:
            Corrupt: More than single records cannot be read.
        """
        ...

    async def load(self, pages: AsyncIterable[DumpPage]) -> None:
        """Take all of `pages` into this store, which is empty, as a dump gave them; terms go on above the highest.

        Entries of sessions that are not there are left out. Nobody else uses the store meanwhile. After a failure, also
        one of `pages`, it is empty; after a kill it is empty, or refuses to be opened.

        Raises:
            Misused: There is a session already. Nothing was changed.
            Corrupt: Something is there twice. Nothing was changed.
        """
        ...
