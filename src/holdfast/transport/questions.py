"""What a session's server asks its client: under ids that no successor of the process that asked ever uses.

Source: MCP 2025-11-25, "Sampling", "Elicitation", "Roots", "Cancellation".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..model.jsonrpc import Message, RequestId, id_json, with_id, with_named_request

ASKED_MAX: Final = 1000


class Questions:
    """The questions of one session that wait for an answer; each is answered once at most.

    A client sees the number that the frame with the question has at the keeper as its id, so that whichever server
    follows this one knows it by the same. The keeper is asked to let go of that frame (`done`) only when the question
    is over: until then it tells the next server of it.
    """

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done
        self._asked: dict[RequestId, tuple[RequestId, int]] = {}
        self._numbers: dict[bytes, int] = {}

    def ask(self, asked_id: RequestId, frame: bytes, number: int) -> bytes | None:
        """Return a question as the client shall see it; None when too many wait already."""
        if len(self._asked) >= ASKED_MAX:
            return None
        seen_id = str(number)
        self._asked[seen_id] = asked_id, number
        self._numbers[id_json(asked_id)] = number
        return with_id(frame, seen_id)

    def withdraw(self, asked_id: RequestId | None, frame: bytes) -> bytes | None:
        """Return the cancellation of a question as the client shall see it; None when nobody waits for an answer."""
        number = None if asked_id is None else self._forget(asked_id)
        return None if number is None else with_named_request(frame, str(number))

    def answered(self, message: Message, body: bytes) -> tuple[bytes, int] | None:
        """Return an answer as the server expects it, and the question's number; None when nobody waits for it.

        The caller lets go of that number once the server has the answer.
        """
        found = None if message.id is None else self._asked.pop(message.id, None)
        if found is None:
            return None
        asked_id, number = found
        if self._numbers.get(id_json(asked_id)) == number:
            del self._numbers[id_json(asked_id)]
        return with_id(body, asked_id), number

    def drop(self, asked_id: RequestId) -> None:
        """Forget a question that the client will never see."""
        self._forget(asked_id)

    def lost(self) -> list[int]:
        """Forget them all, for the process that asked has ended; return their numbers.

        The caller lets go of each once its client has been told.
        """
        numbers = [number for _, number in self._asked.values()]
        self._asked.clear()
        self._numbers.clear()
        return numbers

    def _forget(self, asked_id: RequestId) -> int | None:
        number = self._numbers.pop(id_json(asked_id), None)
        if number is None or self._asked.pop(str(number), None) is None:
            return None
        self._done(number)
        return number
