"""Sessions in the order in which they were used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

MARK: Final = ""
"""May be put among the sessions to find a place again: no id is empty."""


class ByUse:
    """Sessions in the order of their last use: all of them, and, if `by_owner`, those of each owner."""

    __slots__ = ("_by_owner", "_of", "all")

    def __init__(self, by_owner: bool) -> None:
        self.all: OrderedDict[str, str | None] = OrderedDict()
        self._by_owner = by_owner
        # Most owners have one session, and need no dict for it.
        self._of: dict[str, str | dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self.all) - (MARK in self.all)

    def of(self, owner: str) -> Collection[str]:
        """Return the sessions of an owner, the one used least recently first."""
        own = self._of.get(owner, {})
        return (own,) if isinstance(own, str) else own

    def add(self, session_id: str, owner: str | None) -> None:
        """Put a session behind all others, which may be new."""
        if session_id in self.all:
            if self.all[session_id] == owner:
                self.move_to_end(session_id)
                return
            self.remove(session_id)
        self.all[session_id] = owner
        if owner is None or not self._by_owner:
            return
        own = self._of.setdefault(owner, session_id)
        if isinstance(own, dict):
            own[session_id] = None
        elif own != session_id:
            self._of[owner] = {own: None, session_id: None}

    def move_to_end(self, session_id: str) -> None:
        """Put a session behind all others, if it is there."""
        if session_id in self.all:
            self.all.move_to_end(session_id)
            own = self._of.get(self.all[session_id] or "")
            if isinstance(own, dict):
                del own[session_id]
                own[session_id] = None

    def remove(self, session_id: str) -> None:
        """Take a session out, if it is there."""
        owner = self.all.pop(session_id, None)
        if owner is None or owner not in self._of:
            return
        own = self._of[owner]
        if isinstance(own, dict):
            own.pop(session_id)
        if own == session_id or not own:
            del self._of[owner]
