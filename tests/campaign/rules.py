"""What must be true of a session after the crash, given what its client saw before: pure functions of the evidence.

Each yields sentences of the form "expected; found", one for each violation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from .evidence import Call, Connection, Fate, Found, Replay, Seen, SessionLog, all_seen, place_of

INTERRUPTED: Final = -32050
UNKEPT: Final = -32052
STANDALONE: Final = "0"
LIST_CHANGED: Final = "notifications/tools/list_changed"


# -- the session itself


def a_session_is_there_unless_it_was_ended(log: SessionLog, found: Found) -> Iterator[str]:
    statuses = set(found.statuses)
    allowed = {Fate.UNSAID: [{200}], Fate.SAID: [{200}, {404}], Fate.ACKNOWLEDGED: [{404}]}[log.deleted]
    if statuses not in allowed:
        yield f"every request to be answered with one of {allowed}, DELETE {log.deleted.name}; found {found.statuses}"


def one_worker_runs_for_a_live_session_and_none_for_an_ended_one(log: SessionLog, found: Found) -> Iterator[str]:
    wanted = 1 if is_alive(found) else 0
    if found.workers != wanted:
        yield f"{wanted} worker processes; found {found.workers}"
    if len(found.pids) != wanted:
        yield f"one worker to answer all of the racing first requests; found {sorted(found.pids)}"
    if found.has_folder is not is_alive(found):
        yield f"a folder exactly when there is a session; found a folder: {found.has_folder}"


def a_new_worker_was_told_what_the_client_settled(log: SessionLog, found: Found) -> Iterator[str]:
    heard = [word for word in found.heard if word != "tools/call"]
    if len(set(heard)) != len(heard) or heard[:1] != ["initialize"]:
        yield f"initialize first and nothing twice; the worker heard {heard}"
    initialized = "notifications/initialized" in heard
    if initialized != (log.initialized is Fate.ACKNOWLEDGED) and log.initialized is not Fate.SAID:
        yield f"notifications/initialized ({log.initialized.name}); the worker heard {heard}"
    level = next((word.split()[1] for word in heard if word.startswith("logging/setLevel")), None)
    if level not in log.levels:
        yield f"a log level out of {log.levels}; the worker heard {level}"
    subscribed = {word.split()[1] for word in heard if word.startswith("resources/subscribe")}
    for uri, possible in log.subscriptions.items():
        if (uri in subscribed) not in possible:
            yield f"a subscription to {uri}: {possible}; the worker heard of {sorted(subscribed)}"
    if strange := subscribed - set(log.subscriptions):
        yield f"no subscription that was never asked for; the worker heard of {sorted(strange)}"


def what_was_written_is_there(log: SessionLog, found: Found) -> Iterator[str]:
    for name, text in log.files.items():
        if found.files.get(name) != text:
            yield f"the file {name} to hold {text!r}; it holds {found.files.get(name)!r}"


def memory_is_new_and_nothing_was_done_again(log: SessionLog, found: Found) -> Iterator[str]:
    if found.count != "1":
        yield f"the first count of a new process; found {found.count}"
    if found.echo != log.token:
        yield f"an echo of {log.token}; found {found.echo}"


# -- what was answered while it ran


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
        elif call.text is not None and call.said != call.text:
            yield f"{call.tool} {call.id!r} to say {call.text[:80]!r}; it said {str(call.said)[:80]!r}"


def counts_of_one_process_rise(log: SessionLog, found: Found) -> Iterator[str]:
    """Calls are counted one after the other, so a count that was done twice, or in two processes, shows."""
    if log.crashed:  # then there were two processes
        return
    counts = [(call.lifetime, int(call.said)) for call in log.calls if call.tool == "count" and call.said]
    certain = [(lifetime, count) for lifetime, count in counts if lifetime is not None]
    for (lifetime, before), (then, after) in pairwise(certain):
        if lifetime == then and after <= before:
            yield f"a count above {before} from the same process; found {after}"
    for lifetime, count in certain:
        sent = sum(call.tool == "count" and call.lifetime in (lifetime, None) for call in log.calls)
        if count > sent:
            yield f"at most {sent} counts in lifetime {lifetime}, for no more were asked; found {count}"


# -- streams


def every_connection_is_whole_and_goes_on_where_it_was_asked_to(log: SessionLog, found: Found) -> Iterator[str]:
    for connection in [*log.listens, *(part for call in log.calls for part in call.connections)]:
        yield from _flaws_of_row(connection.after, connection.events, ended=log.deleted is not Fate.UNSAID)


def one_event_id_means_one_event(log: SessionLog, found: Found) -> Iterator[str]:
    known: dict[str, bytes] = {}
    replayed = [Connection(replay.after, replay.events) for replays in found.replays.values() for replay in replays]
    seen = [*log.listens, *(part for call in log.calls for part in call.connections), *replayed]
    for event in all_seen(seen):
        assert event.id is not None
        if known.setdefault(event.id, event.data) != event.data:
            yield f"event {event.id} to be {known[event.id][:80]!r} always; found {event.data[:80]!r}"
    if len(tags := {place_of(event_id).tag for event_id in known}) > 1:
        yield f"one session's events; found those of {len(tags)}"


def every_stream_replays_what_was_seen(log: SessionLog, found: Found) -> Iterator[str]:
    seen = {event.id: event.data for event in all_seen([*log.listens, *_parts(log)])}
    for replays in found.replays.values():
        whole = replays[0]
        for replay in replays:
            if replay.status != 200:
                yield f"a resume after {replay.after} to be a stream; found status {replay.status}"
            yield from _flaws_of_row(replay.after, replay.events)
        ids = [event.id for event in whole.events]
        for later in replays[1:]:
            beyond = place_of(later.after) > place_of(whole.after)
            expected = whole.events[ids.index(later.after) + 1 :] if later.after in ids else whole.events
            if (beyond and later.after not in ids) or later.events[: len(expected)] != expected:
                yield f"a resume after {later.after} to hold the {len(expected)} events behind it; found others"
        missing = [
            event_id
            for event_id in seen
            if event_id not in ids and place_of(event_id or "")[:2] == place_of(whole.after)[:2]
            and event_id != whole.after
        ]  # fmt: skip
        if missing:
            yield f"a resume after {whole.after} to hold {missing}, which the client had seen; they are missing"


def every_primed_request_has_exactly_one_answer(log: SessionLog, found: Found) -> Iterator[str]:
    for call, replays in _resumed(log, found):
        whole = replays[0]
        messages = [event.message for event in whole.events if event.data]
        answers = [message for message in messages if "method" not in message]
        name = f"{call.tool} {call.id!r}"
        seen = [event for event in all_seen(call.connections) if event.data and "method" not in event.message]
        if len(answers) != 1 and not (seen and seen[0].id == whole.after):
            yield f"exactly one answer on the stream of {name}; found {len(answers)}"
            continue
        if answers and answers[-1] is not messages[-1]:
            yield f"the answer to {name} to be the last message; found {messages[-1]}"
        if answers and call.answer is not None and answers[0] != json.loads(call.answer):
            yield f"the answer to {name} that the client has heard; found {answers[0]}"
        yield from every_answer_is_the_one_to_its_request(
            SessionLog(log.token, calls=[Call(call.id, call.tool, call.text, answer=json.dumps(answers[0]).encode())])
            if answers else SessionLog(log.token), found
        )  # fmt: skip


def progress_has_no_gap(log: SessionLog, found: Found) -> Iterator[str]:
    for call, replays in _resumed(log, found):
        messages = [event.message for event in replays[0].events if event.data]
        numbers = [
            message["params"]["progress"] for message in messages if message.get("method") == "notifications/progress"
        ]
        if numbers != list(range(len(numbers))):
            yield f"the progress of {call.tool} {call.id!r} from 0 without a gap; found {numbers}"
        if messages and "result" in messages[-1] and len(numbers) != call.steps:
            yield f"{call.steps} steps of {call.tool} {call.id!r} before its result; found {len(numbers)}"


def no_message_is_on_a_stream_where_it_does_not_belong(log: SessionLog, found: Found) -> Iterator[str]:
    logged: dict[str, str | None] = {}
    for stream, replays in found.replays.items():
        number = next((call.id for call, part in _resumed(log, found) if part is replays), None)
        for event in replays[0].events:
            message = event.message or {}
            if not _belongs(message, log, stream, number):
                yield f"only messages of this session on stream {stream}; found {event.data[:120]!r}"
            if message.get("method") == "notifications/message":
                text = str(message["params"]["data"])
                if logged.setdefault(text, event.id) != event.id:
                    yield f"each message on one stream once; {text!r} is {logged[text]} and {event.id}"
    said = [event.message for replay in found.replays.get(STANDALONE, [])[:1] for event in replay.events if event.data]
    changes = sum(message.get("method") == LIST_CHANGED for message in said)
    if changes > log.changes_asked + 1:
        yield f"at most {log.changes_asked} changes, and the survey's own; found {changes}"


def nobody_resumes_the_stream_of_another_session(log: SessionLog, found: Found) -> Iterator[str]:
    if found.strange not in (None, 400):
        yield f"an event id of another session to be refused with 400; found status {found.strange}"


OF_ANY_SESSION: Final[tuple[Callable[[SessionLog, Found], Iterator[str]], ...]] = (
    a_session_is_there_unless_it_was_ended,
    one_worker_runs_for_a_live_session_and_none_for_an_ended_one,
    every_answer_is_the_one_to_its_request,
    counts_of_one_process_rise,
    every_connection_is_whole_and_goes_on_where_it_was_asked_to,
    one_event_id_means_one_event,
)
OF_A_LIVE_ONE: Final[tuple[Callable[[SessionLog, Found], Iterator[str]], ...]] = (
    a_new_worker_was_told_what_the_client_settled,
    what_was_written_is_there,
    memory_is_new_and_nothing_was_done_again,
    every_stream_replays_what_was_seen,
    every_primed_request_has_exactly_one_answer,
    progress_has_no_gap,
    no_message_is_on_a_stream_where_it_does_not_belong,
    nobody_resumes_the_stream_of_another_session,
)


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
    for call in (call for call in log.calls if call.sent >= last):
        taken = (
            any(connection.events for connection in call.connections) or found.files.get(call.file or "") is not None
        )
        if taken and call.answer is None:
            yield f"an answer to {call.tool} {call.id!r} before the stop; there was none"
        elif call.answer is not None and not call.is_done and not log.crashed and call.tool != "ask":
            yield f"a result of {call.tool} {call.id!r} before the stop; found {call.answer!r}"


def terms_rise(logs: Iterable[SessionLog]) -> Iterator[str]:
    """Streams opened in one lifetime of the server share a term, and each lifetime has a higher one."""
    terms: dict[int, set[int]] = {}
    for call in (call for log in logs for call in log.calls if call.lifetime is not None and call.connections):
        opening = call.connections[0].events[0].id
        if opening is not None:
            terms.setdefault(call.lifetime or 0, set()).add(place_of(opening).term)
    flat = [sorted(terms[lifetime]) for lifetime in sorted(terms)]
    if any(len(each) != 1 for each in flat) or any(one[-1] >= two[0] for one, two in pairwise(flat)):
        yield f"one term in each lifetime of the server, and a higher one in the next; found {terms}"


def session_ids_are_unique(logs: Iterable[SessionLog]) -> Iterator[str]:
    ids = [log.id for log in logs if log.id is not None]
    if len(set(ids)) != len(ids):
        yield f"an id for each of {len(ids)} sessions; found {len(set(ids))}"


# -- helpers


def _flaws_of_row(after: str | None, events: Sequence[Seen], *, ended: bool = False) -> Iterator[str]:
    """Yield what is wrong with events that came over one connection; an `ended` session may speak without ids."""
    numbered = [event.id for event in events if event.id is not None]
    if len(numbered) != len(events) and not ended:
        yield f"an id on every event after {after}; found {[event.data for event in events if event.id is None]}"
    for before, then in pairwise([after, *numbered] if after is not None else numbered):
        one, two = place_of(before), place_of(then)
        if one[:2] != two[:2] or two.seq != one.seq + 1 or two.term < one.term:
            yield f"the event behind {before}; found {then}"


def _parts(log: SessionLog) -> Iterator[Connection]:
    for call in log.calls:
        yield from call.connections


def _resumed(log: SessionLog, found: Found) -> Iterator[tuple[Call, list[Replay]]]:
    """Yield each call whose stream the client saw, with the replays of it."""
    for call in log.calls:
        opening = next((event.id for event in all_seen(call.connections)), None)
        if opening is not None and (replays := found.replays.get(place_of(opening).stream)):
            yield call, replays


def _belongs(message: dict[str, Any], log: SessionLog, stream: str, number: int | str | None) -> bool:
    method, params, token = message.get("method"), message.get("params", {}), log.token
    if method == "notifications/cancelled":  # the process whose question it was has ended
        return bool(log.crashed and str(params["requestId"]).endswith(':"q1"'))
    if method == "notifications/progress":
        return bool(params["progressToken"] == f"{token}/{str(number).removeprefix('r')}")
    if method in ("notifications/message", "elicitation/create"):
        return str(params.get("data", params.get("message"))).startswith(token + " ")
    if method is not None:
        return bool(method == LIST_CHANGED and stream == STANDALONE)
    return stream != STANDALONE or not message
