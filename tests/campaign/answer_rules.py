"""What must be true of the answers a session's client heard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from .evidence import Fate, Found, SessionLog

INTERRUPTED: Final = -32050
UNKEPT: Final = -32052
UNHEARD: Final = "nobody answered"


def every_answer_is_the_one_to_its_request(log: SessionLog, found: Found) -> Iterator[str]:
    for call in log.calls:
        if call.answer is None:
            continue
        answer = json.loads(call.answer)
        if answer.get("id") != call.id or type(answer.get("id")) is not type(call.id):
            yield f"an answer to {call.tool} {call.id!r}; found one to {answer.get('id')!r}"
        if "error" in answer:
            # The journal of a session goes with it, so what is said just then cannot be kept.
            allowed = {INTERRUPTED} if log.deleted is Fate.UNSAID else {INTERRUPTED, UNKEPT}
            if answer["error"]["code"] not in allowed:
                yield f"a result of {call.tool} {call.id!r}, or that it was interrupted; found {answer['error']}"
        elif call.text is not None and call.said != call.text and not _may_be_unheard(call.said, log):
            yield f"{call.tool} {call.id!r} to say {call.text[:80]!r}; it said {str(call.said)[:80]!r}"


def _may_be_unheard(said: str | None, log: SessionLog) -> bool:
    """Return whether a question may have come to nobody: on the stream of a call that its client had lost."""
    return said == UNHEARD and any(call.is_lost for call in log.calls)
