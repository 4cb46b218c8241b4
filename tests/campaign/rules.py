"""What must be true after the ends of the server, given what clients saw before: pure functions of the evidence.

Each yields sentences of the form "expected; found", one for each violation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from . import stream_rules, worker_rules
from .answer_rules import every_answer_is_the_one_to_its_request
from .evidence import Fate, Found, SessionLog, place_of
from .plan import How

Rule = Callable[[SessionLog, Found], Iterator[str]]
AGAIN: Final = 503


def a_session_is_there_unless_it_was_ended(log: SessionLog, found: Found) -> Iterator[str]:
    statuses = set(found.statuses)
    allowed = {Fate.UNSAID: [{200}], Fate.SAID: [{200}, {404}], Fate.ACKNOWLEDGED: [{404}]}[log.deleted]
    if statuses not in allowed:
        found_them = f"{found.statuses} {found.refusals}"
        yield f"every request to be answered with one of {allowed}, DELETE {log.deleted.name}; found {found_them}"


def an_ended_session_leaves_nothing(log: SessionLog, found: Found) -> Iterator[str]:
    if found.has_folder is not is_alive(found):
        yield f"a folder exactly when there is a session; found a folder: {found.has_folder}"
    if found.workers and not is_alive(found):
        yield f"no worker of a session that has ended; found {found.workers}"


def a_replacement_fails_nobody(log: SessionLog, found: Found) -> Iterator[str]:
    """Where each end was a healthy server's replacement no request may fail and no connection break.

    Only where a worker had just crashed, so that none shows whose its session is, one may be told to come again.
    """
    if set(found.ends) != {How.REPLACE} or log.deleted is not Fate.UNSAID:
        return
    for call in log.calls:
        if call.answer is None and not (log.crashed and call.status == AGAIN):
            yield f"an answer to {call.tool} {call.id!r}; there was none, status {call.status}"
    connections = [*log.listens, *(connection for call in log.calls for connection in call.connections)]
    if cut := [connection.last_id for connection in connections if connection.cut]:
        yield f"every stream to be ended, not cut off; cut off were those after {cut}"


OF_ANY_SESSION: Final[tuple[Rule, ...]] = (
    a_session_is_there_unless_it_was_ended,
    an_ended_session_leaves_nothing,
    a_replacement_fails_nobody,
    every_answer_is_the_one_to_its_request,
    *stream_rules.OF_ANY_SESSION,
)
OF_A_LIVE_ONE: Final[tuple[Rule, ...]] = (*worker_rules.RULES, *stream_rules.OF_A_LIVE_ONE)


def violations(log: SessionLog, found: Found) -> list[str]:
    """Return everything that is wrong with one session whose id is known."""
    rules = OF_ANY_SESSION + (OF_A_LIVE_ONE if is_alive(found) else ())
    return log.problems + [flaw for rule in rules for flaw in rule(log, found)]


def is_alive(found: Found) -> bool:
    """Return whether the session answered."""
    return set(found.statuses) == {200}


# -- what concerns a stop, and all sessions of a run


def a_stop_answers_what_it_took(log: SessionLog, found: Found, last: int) -> Iterator[str]:
    """Whatever the server that was stopped under state `last` took on is answered by it, for none of it takes long.

    But for what asks us: the server accepts no more connections, so our answer may come too late.
    """
    if log.deleted is not Fate.UNSAID:
        return
    for call in (call for call in log.calls if call.sent in (last, last + 1)):
        taken = any(connection.events for connection in call.connections) or found.files.get(call.file or "")
        if taken and call.answer is None:
            yield f"an answer to {call.tool} {call.id!r} before the stop; there was none"
        elif call.answer is not None and not call.is_done and not found.crashed and call.tool != "ask":
            yield f"a result of {call.tool} {call.id!r} before the stop; found {call.answer!r}"


def terms_rise(logs: Iterable[SessionLog]) -> Iterator[str]:
    """Streams opened by one server share a term, and each server has a higher one."""
    terms: dict[int, set[int]] = {}
    for call in (call for log in logs for call in log.calls if call.server is not None and call.connections):
        opening = call.connections[0].events[0].id
        if opening is not None:
            terms.setdefault(call.server or 0, set()).add(place_of(opening).term)
    flat = [sorted(terms[server]) for server in sorted(terms)]
    if any(len(each) != 1 for each in flat) or any(one[-1] >= two[0] for one, two in pairwise(flat)):
        yield f"one term of each server, and a higher one of the next; found {terms}"


def session_ids_are_unique(logs: Iterable[SessionLog]) -> Iterator[str]:
    ids: Sequence[str] = [log.id for log in logs if log.id is not None]
    if len(set(ids)) != len(ids):
        yield f"an id for each of {len(ids)} sessions; found {len(set(ids))}"
