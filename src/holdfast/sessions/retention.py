"""How much of what is only kept for a while a manager has its store keep."""

from __future__ import annotations

import msgspec

from ..model.errors import Misused
from ..stores.contract import FeedBounds, JournalBounds


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of the journal and of the feed, to which a manager that is entered trims them now and then.

    None leaves that to others, for one of all who share a store is enough. The journal is trimmed once a request was
    registered here; the feed always, where the store keeps one.
    """

    journal: JournalBounds | None = JournalBounds()
    feed: FeedBounds | None = FeedBounds()

    def __post_init__(self) -> None:
        for name, kind in (("journal", JournalBounds), ("feed", FeedBounds)):
            bounds = getattr(self, name)
            if bounds is not None and not isinstance(bounds, kind):
                raise Misused(f"Retention({name}={bounds!r}): it is a {kind.__name__}, or None")
