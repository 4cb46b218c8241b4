"""The campaign's rules find nothing wrong with sound evidence, and each finds what it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from . import rules
from .evidence import Call, Connection, Fate, Found, Replay, Seen, SessionLog

TAG: Final = "0a1b2c3d"
Evidence = tuple[SessionLog, Found]
Tampering = Callable[[SessionLog, Found], object]


def event(stream: str, term: int, seq: int, message: Any = None) -> Seen:
    return Seen(f"{TAG}.{stream}.{term}.{seq}", json.dumps(message).encode() if message else b"")


def result(number: int | str, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}]}}


def error(number: int | str, code: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "why"}}


def progress(number: int, step: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": f"t/{number}", "progress": step}}


def answered(number: int, tool: str, text: str) -> Call:
    return Call(
        number, tool, None if tool == "count" else text, lifetime=0, answer=json.dumps(result(number, text)).encode()
    )


CHANGED: Final = {"method": "notifications/tools/list_changed"}
DONE: Final = [
    event("1-1", 1, 0),
    event("1-1", 1, 1, progress(3, 0)),
    event("1-1", 1, 2, progress(3, 1)),
    event("1-1", 1, 3, result(3, "2 done")),
]
CUT: Final = [event("1-2", 1, 0), event("1-2", 1, 1, progress(4, 0)), event("1-2", 2, 2, error("r4", -32050))]
HEARD: Final = [event("0", 1, 0), event("0", 1, 1, CHANGED), event("0", 2, 2, CHANGED)]


def replays(events: list[Seen], *at: int) -> list[Replay]:
    return [Replay(str(events[place].id), 200, events[place + 1 :]) for place in at]


def sound() -> Evidence:
    """Return what a session without a flaw looks like: one call was answered on its stream, one was interrupted."""
    done = Call(
        3, "progress", "2 done", steps=2, lifetime=0, answer=DONE[3].data, connections=[Connection(None, DONE[:])]
    )
    cut = Call("r4", "progress", "9 done", steps=9, lifetime=0, connections=[Connection(None, CUT[:2])])
    log = SessionLog(
        "t",
        "ab12cd34",
        Fate.ACKNOWLEDGED,
        levels={"info"},
        subscriptions={"probe:///kept": {True}, "probe:///left": {False}, "probe:///unknown": {True, False}},
        files={"note": "kept"},
        calls=[answered(1, "count", "1"), answered(2, "count", "2"), done, cut, answered(5, "changed", "told")],
        listens=[Connection(None, HEARD[:2])],
    )
    found = Found(
        [200, 200, 200],
        pids={"77"},
        heard=["initialize", "notifications/initialized", "logging/setLevel info", "resources/subscribe probe:///kept"],
        count="1",
        echo="t",
        files={"note": "kept"},
        replays={"1-1": replays(DONE, 0, 1, 3), "1-2": replays(CUT, 0, 1), "0": replays(HEARD, 0, 1)},
        strange=400,
        has_folder=True,
        workers=1,
    )
    return log, found


def whole(found: Found, stream: str) -> list[Seen]:
    return found.replays[stream][0].events


def put(events: list[Seen], place: int, message: dict[str, Any]) -> None:
    """Give an event other data."""
    events[place] = events[place]._replace(data=json.dumps(message).encode())


TAMPERINGS: Final[list[tuple[Callable[[SessionLog, Found], Any], str, Tampering]]] = [
    (rules.a_session_is_there_unless_it_was_ended, "lost", lambda _, found: found.statuses.append(404)),
    (rules.a_session_is_there_unless_it_was_ended, "deleted, and back", lambda log, _: ended(log)),
    (
        rules.one_worker_runs_for_a_live_session_and_none_for_an_ended_one,
        "two workers",
        lambda _, found: setattr(found, "workers", 2),
    ),
    (
        rules.one_worker_runs_for_a_live_session_and_none_for_an_ended_one,
        "two answer",
        lambda _, found: found.pids.add("78"),
    ),
    (
        rules.one_worker_runs_for_a_live_session_and_none_for_an_ended_one,
        "no folder",
        lambda _, found: setattr(found, "has_folder", False),
    ),
    (rules.a_new_worker_was_told_what_the_client_settled, "no level", lambda _, found: found.heard.pop(2)),
    (rules.a_new_worker_was_told_what_the_client_settled, "no subscription", lambda _, found: found.heard.pop()),
    (rules.a_new_worker_was_told_what_the_client_settled, "not initialized", lambda _, found: found.heard.pop(1)),
    (
        rules.a_new_worker_was_told_what_the_client_settled,
        "initialized for a client that was not",
        lambda log, _: setattr(log, "initialized", Fate.UNSAID),
    ),
    (
        rules.a_new_worker_was_told_what_the_client_settled,
        "somebody else's subscription",
        lambda _, found: found.heard.append("resources/subscribe probe:///other"),
    ),
    (
        rules.a_new_worker_was_told_what_the_client_settled,
        "an undone subscription",
        lambda _, found: found.heard.append("resources/subscribe probe:///left"),
    ),
    (rules.a_new_worker_was_told_what_the_client_settled, "twice", lambda _, found: found.heard.append("initialize")),
    (rules.what_was_written_is_there, "no file", lambda _, found: found.files.clear()),
    (rules.memory_is_new_and_nothing_was_done_again, "done again", lambda _, found: setattr(found, "count", "2")),
    (rules.memory_is_new_and_nothing_was_done_again, "an echo", lambda _, found: setattr(found, "echo", "u")),
    (rules.every_answer_is_the_one_to_its_request, "another id", lambda log, _: setattr(log.calls[0], "id", 9)),
    (rules.every_answer_is_the_one_to_its_request, "1 for '1'", lambda log, _: setattr(log.calls[0], "id", "1")),
    (rules.every_answer_is_the_one_to_its_request, "another text", lambda log, _: setattr(log.calls[2], "text", "3")),
    (
        rules.every_answer_is_the_one_to_its_request,
        "an unexplained error",
        lambda log, _: setattr(log.calls[0], "answer", json.dumps(error(1, -32603)).encode()),
    ),
    (rules.counts_of_one_process_rise, "again", lambda log, _: log.calls.insert(2, answered(9, "count", "2"))),
    (rules.counts_of_one_process_rise, "too often", lambda log, _: log.calls.insert(2, answered(9, "count", "4"))),
    (
        rules.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "a gap",
        lambda log, _: log.listens[0].events.append(event("0", 1, 3, CHANGED)),
    ),
    (
        rules.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "twice",
        lambda log, _: log.listens[0].events.append(HEARD[1]),
    ),
    (
        rules.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "what was seen already",
        lambda log, _: log.listens.append(Connection(HEARD[1].id, HEARD[1:])),
    ),
    (
        rules.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "a falling term",
        lambda log, _: log.listens[0].events.append(event("0", 0, 2, CHANGED)),
    ),
    (
        rules.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "another stream",
        lambda log, _: log.listens[0].events.append(event("1-1", 1, 2, CHANGED)),
    ),
    (
        rules.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "no id",
        lambda log, _: log.listens[0].events.append(Seen(None, b"{}")),
    ),
    (rules.one_event_id_means_one_event, "other bytes", lambda _, found: put(whole(found, "1-1"), 0, progress(3, 5))),
    (
        rules.one_event_id_means_one_event,
        "another session's",
        lambda log, _: log.listens[0].events.append(Seen("99999999.0.1.2", b"{}")),
    ),
    (rules.every_stream_replays_what_was_seen, "a seen event is gone", lambda _, found: whole(found, "1-1").pop()),
    (rules.every_stream_replays_what_was_seen, "a gap", lambda _, found: whole(found, "1-1").pop(0)),
    (rules.every_stream_replays_what_was_seen, "twice", lambda _, found: whole(found, "1-1").insert(0, DONE[1])),
    (
        rules.every_stream_replays_what_was_seen,
        "the last event again",
        lambda _, found: found.replays["1-1"][2].events.append(DONE[3]),
    ),
    (rules.every_stream_replays_what_was_seen, "a short resume", lambda _, found: found.replays["1-1"][1].events.pop()),
    (
        rules.every_stream_replays_what_was_seen,
        "refused",
        lambda _, found: setattr(found.replays["1-1"][1], "status", 404),
    ),
    (rules.every_primed_request_has_exactly_one_answer, "silence", lambda _, found: whole(found, "1-2").pop()),
    (
        rules.every_primed_request_has_exactly_one_answer,
        "two answers",
        lambda _, found: whole(found, "1-2").append(event("1-2", 2, 3, error("r4", -32050))),
    ),
    (
        rules.every_primed_request_has_exactly_one_answer,
        "not the last",
        lambda _, found: whole(found, "1-2").append(event("1-2", 2, 3, progress(4, 1))),
    ),
    (
        rules.every_primed_request_has_exactly_one_answer,
        "another than before",
        lambda _, found: put(whole(found, "1-1"), 2, error(3, -32050)),
    ),
    (
        rules.every_primed_request_has_exactly_one_answer,
        "an unexplained error",
        lambda _, found: put(whole(found, "1-2"), 1, error("r4", -32603)),
    ),
    (rules.progress_has_no_gap, "a gap", lambda _, found: put(whole(found, "1-2"), 0, progress(4, 1))),
    (rules.progress_has_no_gap, "too few", lambda _, found: whole(found, "1-1").pop(1)),
    (
        rules.no_message_is_on_a_stream_where_it_does_not_belong,
        "another call's",
        lambda _, found: put(whole(found, "1-1"), 0, progress(4, 0)),
    ),
    (
        rules.no_message_is_on_a_stream_where_it_does_not_belong,
        "another session's",
        lambda _, found: put(whole(found, "0"), 0, {"method": "notifications/message", "params": {"data": "u says"}}),
    ),
    (
        rules.no_message_is_on_a_stream_where_it_does_not_belong,
        "on two streams",
        lambda _, found: say_twice(found),
    ),
    (
        rules.no_message_is_on_a_stream_where_it_does_not_belong,
        "a change on a call's stream",
        lambda _, found: put(whole(found, "1-1"), 0, CHANGED),
    ),
    (
        rules.no_message_is_on_a_stream_where_it_does_not_belong,
        "more changes than were made",
        lambda log, _: log.calls.pop(),
    ),
    (rules.nobody_resumes_the_stream_of_another_session, "let in", lambda _, found: setattr(found, "strange", 200)),
]


def say_twice(found: Found) -> None:
    for stream in ("0", "1-1"):
        put(whole(found, stream), 0, {"method": "notifications/message", "params": {"data": "t says"}})


def ended(log: SessionLog) -> None:
    log.deleted = Fate.ACKNOWLEDGED


def test_sound_evidence_breaks_no_rule() -> None:
    log, found = sound()
    assert rules.violations(log, found) == []
    assert list(rules.a_stop_answers_what_it_took(log, found, last=2)) == []
    assert [*rules.terms_rise([log]), *rules.session_ids_are_unique([log])] == []


@pytest.mark.parametrize(
    ("rule", "tamper"),
    [pytest.param(rule, tamper, id=f"{rule.__name__}: {what}") for rule, what, tamper in TAMPERINGS],
)
def test_a_rule_finds_what_it_is_there_for(rule: Callable[[SessionLog, Found], Any], tamper: Tampering) -> None:
    log, found = sound()
    tamper(log, found)
    assert list(rule(log, found))


def test_every_rule_is_shown_to_bite() -> None:
    assert {rule for rule, _, _ in TAMPERINGS} == {*rules.OF_ANY_SESSION, *rules.OF_A_LIVE_ONE}


def test_an_ended_session_needs_no_worker_and_no_stream() -> None:
    log, _ = sound()
    log.deleted = Fate.ACKNOWLEDGED
    assert rules.violations(log, Found([404, 404, 404])) == []
    assert rules.violations(log, Found([404, 404, 404], has_folder=True))


def test_a_delete_without_an_answer_allows_both_but_not_a_mixture() -> None:
    log, found = sound()
    log.deleted = Fate.SAID
    assert rules.violations(log, found) == []
    assert rules.violations(log, Found([404, 404, 404])) == []
    assert rules.violations(log, Found([200, 404, 200]))


def test_a_call_that_a_stop_took_and_did_not_answer_is_found() -> None:
    log, found = sound()
    log.calls.append(Call(8, "write", "written", file="note", sent=2))
    assert list(rules.a_stop_answers_what_it_took(log, found, last=2))
    assert not list(rules.a_stop_answers_what_it_took(log, found, last=4))


def test_a_call_that_a_stop_interrupted_without_need_is_found() -> None:
    log, found = sound()
    log.calls.append(Call(8, "progress", sent=2, answer=json.dumps(error(8, -32050)).encode()))
    assert list(rules.a_stop_answers_what_it_took(log, found, last=2))


@pytest.mark.parametrize("term", [1, 0])
def test_a_term_that_does_not_rise_is_found(term: int) -> None:
    log, _ = sound()
    later = Call(8, "log", lifetime=2, connections=[Connection(None, [event(f"{term}-9", term, 0)])])
    log.calls.append(later)
    assert list(rules.terms_rise([log]))


def test_two_sessions_with_one_id_are_found() -> None:
    assert list(rules.session_ids_are_unique([SessionLog("t", "same"), SessionLog("u", "same")]))
