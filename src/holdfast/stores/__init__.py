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
from .replace import Old, Replacement, file_of, replacement_of
from .upkeep import Findings, Inspection, Progress, Repaired, Upkeep, upkeep_of
from .url import open_store, open_to_dump

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
    "Old",
    "Page",
    "Progress",
    "Query",
    "Repaired",
    "Replacement",
    "Resident",
    "Store",
    "StoreInfo",
    "Upkeep",
    "file_of",
    "open_store",
    "open_to_dump",
    "replacement_of",
    "upkeep_of",
]
