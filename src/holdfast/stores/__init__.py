"""Where sessions are kept. `contract` is what a store promises, `open_store` opens one by its address."""

from .beside import BesideStore
from .contract import (
    Described,
    Dumped,
    DumpedEntry,
    DumpPage,
    Entry,
    IdPage,
    Journal,
    JournalBounds,
    Kind,
    Listing,
    Page,
    Query,
    Resident,
    Store,
    StoreInfo,
)
from .memory import MemoryStore
from .upkeep import Findings, Inspection, Repaired, Upkeep, upkeep_of
from .url import open_store

__all__ = [
    "BesideStore",
    "Described",
    "DumpPage",
    "Dumped",
    "DumpedEntry",
    "Entry",
    "Findings",
    "IdPage",
    "Inspection",
    "Journal",
    "JournalBounds",
    "Kind",
    "Listing",
    "MemoryStore",
    "Page",
    "Query",
    "Repaired",
    "Resident",
    "Store",
    "StoreInfo",
    "Upkeep",
    "open_store",
    "upkeep_of",
]
