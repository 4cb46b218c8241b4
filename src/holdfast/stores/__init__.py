"""Where sessions are kept. `contract` is what a store promises, `open_store` opens one by its address."""

from .contract import Entry, IdPage, Journal, JournalBounds, Kind, Listing, Page, Query, Store
from .memory import MemoryStore
from .url import open_store

__all__ = [
    "Entry",
    "IdPage",
    "Journal",
    "JournalBounds",
    "Kind",
    "Listing",
    "MemoryStore",
    "Page",
    "Query",
    "Store",
    "open_store",
]
