"""Where sessions are kept. `contract` is what a store promises, `url.open_store` opens one by its address."""

from .contract import Entry, Journal, JournalBounds, Kind, Page, Query, Store
from .memory import MemoryStore

__all__ = ["Entry", "Journal", "JournalBounds", "Kind", "MemoryStore", "Page", "Query", "Store"]
