"""What a session's server asks its client: under ids that no successor of the process that asked ever uses.

Source: MCP 2025-11-25, "Sampling", "Elicitation", "Roots", "Cancellation".
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..model.jsonrpc import Message, RequestId, with_id, with_named_request

ASKED_MAX: Final = 1000


class Questions:
    """The questions of one session that wait for an answer; each is answered once at most.

    A client sees an id of three parts: the term of this node, how many processes were lost in it, and the id the
    process chose, as JSON, in which 1 and "1" differ.
    """

    def __init__(self, term: int) -> None:
        self._term = term
        self._lost = 0
        self._asked: dict[RequestId, RequestId] = {}

    def ask(self, asked_id: RequestId, frame: bytes) -> bytes | None:
        """Return a question as the client shall see it; None when too many wait already."""
        if len(self._asked) >= ASKED_MAX:
            return None
        seen_id = self._seen(asked_id)
        self._asked[seen_id] = asked_id
        return with_id(frame, seen_id)

    def withdraw(self, asked_id: RequestId | None, frame: bytes) -> bytes | None:
        """Return the cancellation of a question as the client shall see it; None when nobody waits for an answer."""
        seen_id = None if asked_id is None else self._seen(asked_id)
        if seen_id is None or self._asked.pop(seen_id, None) is None:
            return None
        return with_named_request(frame, seen_id)

    def answered(self, message: Message, body: bytes) -> bytes | None:
        """Return an answer as the server expects it; None when nobody waits for it (any more)."""
        asked_id = None if message.id is None else self._asked.pop(message.id, None)
        return None if asked_id is None else with_id(body, asked_id)

    def drop(self, asked_id: RequestId) -> None:
        """Forget a question that the client will never see."""
        self._asked.pop(self._seen(asked_id), None)

    def lost(self) -> list[RequestId]:
        """Forget them all, for the process that asked has ended; return the ids the client knows them by."""
        self._lost += 1
        asked, self._asked = list(self._asked), {}
        return asked

    def _seen(self, asked_id: RequestId) -> str:
        return f"{self._term}.{self._lost}:{msgspec.json.encode(asked_id).decode()}"
