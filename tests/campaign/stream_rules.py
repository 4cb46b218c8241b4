"""What must be true of a session's streams: no event is lost, doubled, torn, changed or on another's stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from .answer_rules import every_answer_is_the_one_to_its_request
from .evidence import SURVEYED, Call, Connection, Fate, Found, Replay, Seen, SessionLog, all_seen, place_of
from .plan import ENDS_WORKERS

STANDALONE: Final = "0"
LIST_CHANGED: Final = "notifications/tools/list_changed"


def every_connection_is_whole_and_goes_on_where_it_was_asked_to(log: SessionLog, found: Found) -> Iterator[str]:
    for connection in [*log.listens, *_parts(log)]:
        yield from _flaws_of_row(connection.after, connection.events, ended=log.deleted is not Fate.UNSAID)


def one_event_id_means_one_event(log: SessionLog, found: Found) -> Iterator[str]:
    known: dict[str, bytes] = {}
    replayed = [Connection(replay.after, replay.events) for replays in found.replays.values() for replay in replays]
    for event in all_seen([*log.listens, *_parts(log), *replayed]):
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
        if call.answer is None:
            yield f"the client of {name} to hear its answer; it did not"
        if answers and answers[-1] is not messages[-1]:
            yield f"the answer to {name} to be the last message; found {messages[-1]}"
        if answers and call.answer is not None and answers[0] != json.loads(call.answer):
            yield f"the answer to {name} that the client has heard; found {answers[0]}"
        replayed = [json.dumps(answer).encode() for answer in answers]
        calls = [Call(call.id, call.tool, call.text, answer=answer) for answer in replayed]
        lost = [call for call in log.calls if call.is_lost]
        yield from every_answer_is_the_one_to_its_request(SessionLog(log.token, calls=calls + lost), found)


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
    for stream, replays in found.replays.items():
        number = next((call.id for call, part in _resumed(log, found) if part is replays), None)
        for event in replays[0].events:
            if not _belongs(event.message or {}, log, found, stream, number):
                yield f"only messages of this session on stream {stream}; found {event.data[:120]!r}"


def a_message_is_told_once(log: SessionLog, found: Found) -> Iterator[str]:
    told = _told(found)
    if twice := [text for text, count in told.items() if count > 1]:
        yield f"each message on one stream, once; {twice} are there more often"
    asked = {call.tells: call for call in log.calls if call.tells is not None and call.id in found.calls_taken}
    if strange := [text for text in told if text not in asked and SURVEYED not in text]:
        yield f"only messages that a worker was asked for; found {strange}"


def a_message_is_not_lost(log: SessionLog, found: Found) -> Iterator[str]:
    """Where every stream is known from its beginning and no worker was ended, all they said is there."""
    opening = place_of(found.replays[STANDALONE][0].after).seq if STANDALONE in found.replays else None
    if any(how in ENDS_WORKERS for how in found.ends) or any(call.is_lost for call in log.calls):
        return
    if log.listens and opening != 0:
        return
    told = _told(found)
    for call in (call for call in log.calls if call.is_done and call.tells is not None):
        # What waits for a client to listen waits in the server alone once the worker that said it has crashed.
        waits = call.tool == "changed" and found.calls_taken[call.id].pid in found.crashed
        is_seen = (call.tool == "changed" and opening == 0) or call.tool in ("log", "ask")
        if is_seen and not waits and not told[call.tells or ""]:
            yield f"{call.tells!r}, which {call.tool} {call.id!r} made known, on some stream; it is on none"


def nobody_resumes_the_stream_of_another_session(log: SessionLog, found: Found) -> Iterator[str]:
    if found.strange not in (None, 400):
        yield f"an event id of another session to be refused with 400; found status {found.strange}"


OF_ANY_SESSION: Final[tuple[Callable[[SessionLog, Found], Iterator[str]], ...]] = (
    every_connection_is_whole_and_goes_on_where_it_was_asked_to,
    one_event_id_means_one_event,
)
OF_A_LIVE_ONE: Final[tuple[Callable[[SessionLog, Found], Iterator[str]], ...]] = (
    every_stream_replays_what_was_seen,
    every_primed_request_has_exactly_one_answer,
    progress_has_no_gap,
    no_message_is_on_a_stream_where_it_does_not_belong,
    a_message_is_told_once,
    a_message_is_not_lost,
    nobody_resumes_the_stream_of_another_session,
)


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


def _told(found: Found) -> Counter[str]:
    """Return how often each message that was made known is on the streams of a session."""
    told: Counter[str] = Counter()
    for replays in found.replays.values():
        for message in (event.message for event in replays[0].events if event.data):
            if (text := _text_of(message)) is not None:
                told[text] += 1
    return told


def _text_of(message: dict[str, Any]) -> str | None:
    params = message.get("params", {})
    match message.get("method"):
        case "notifications/message":
            return str(params["data"])
        case "elicitation/create":
            return str(params["message"])
        case "notifications/tools/list_changed" if "_meta" in params:
            return str(params["_meta"]["mark"])
    return None


def _belongs(message: dict[str, Any], log: SessionLog, found: Found, stream: str, number: int | str | None) -> bool:
    method, params = message.get("method"), message.get("params", {})
    if method == "notifications/cancelled":  # the process whose question it was has ended
        return len(found.lives) > 1 and any(call.tool == "ask" for call in log.calls)
    if method == "notifications/progress":
        lost = {f"{log.token}/{str(call.id).removeprefix('r')}" for call in log.calls if call.is_lost}
        is_its_own = params["progressToken"] == f"{log.token}/{str(number).removeprefix('r')}"
        return is_its_own or (stream == STANDALONE and params["progressToken"] in lost)
    if method == LIST_CHANGED:
        return stream == STANDALONE and (_text_of(message) or log.token).startswith(log.token)
    if method is not None:
        return (_text_of(message) or "").startswith(log.token + " ")
    return stream != STANDALONE or not message
