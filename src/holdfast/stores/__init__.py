"""Where sessions are kept. `contract` is what a store promises, `open_store` opens one by its address."""

from .beside import BesideStore
from .contract import (
    Change,
    ChangeKind,
    Changes,
    Described,
    Entry,
    Feed,
    FeedBounds,
    IdPage,
    Journal,
    JournalBounds,
    Kind,
    Listing,
    Page,
    Past,
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
    "Change",
    "ChangeKind",
    "Changes",
    "Described",
    "Entry",
    "Feed",
    "FeedBounds",
    "Findings",
    "IdPage",
    "Inspection",
    "Journal",
    "JournalBounds",
    "Kind",
    "Listing",
    "MemoryStore",
    "Page",
    "Past",
    "Query",
    "Repaired",
    "Resident",
    "Store",
    "StoreInfo",
    "Upkeep",
    "open_store",
    "upkeep_of",
]
