"""The campaign's rules find nothing wrong with sound evidence, and each finds what it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from . import answer_rules, rules, stream_rules, worker_rules
from .answer_rules import UNHEARD
from .evidence import Call, Connection, Fate, Found, Seen, SessionLog, Taken
from .plan import How
from .sound import (
    ASKED,
    DONE,
    FIRST,
    HEARD,
    LAST,
    OTHER,
    TOLD,
    answered,
    call_of,
    ended,
    error,
    event,
    fail,
    fail_setting,
    fail_unreached,
    leave_a_worker,
    mark,
    progress,
    put,
    replaced,
    result,
    sound,
    told,
    unheard,
    whole,
    withdraw,
)

answers, streams, workers = answer_rules.every_answer_is_the_one_to_its_request, stream_rules, worker_rules
Tampering = Callable[[SessionLog, Found], object]
TAMPERINGS: Final[list[tuple[Callable[[SessionLog, Found], Any], str, Tampering]]] = [
    (rules.a_session_is_there_unless_it_was_ended, "lost", lambda _, found: found.statuses.append(404)),
    (rules.a_session_is_there_unless_it_was_ended, "deleted, and back", lambda log, _: ended(log)),
    (rules.an_ended_session_leaves_nothing, "no folder", lambda _, found: setattr(found, "has_folder", False)),
    (rules.an_ended_session_leaves_nothing, "a worker", lambda _, found: leave_a_worker(found)),
    (
        rules.a_replacement_fails_nobody,
        "no answer",
        lambda log, found: replaced(log, found).calls.append(Call(9, "pid")),
    ),
    (
        rules.a_replacement_fails_nobody,
        "cut off",
        lambda log, found: setattr(replaced(log, found).listens[0], "cut", True),
    ),
    (answers, "another id", lambda log, _: setattr(call_of(log, 1), "id", 9)),
    (answers, "1 for '1'", lambda log, _: setattr(call_of(log, 1), "id", "1")),
    (answers, "another text", lambda log, _: setattr(call_of(log, 3), "text", "3")),
    (answers, "a question that nobody answered", lambda log, _: unheard(log)),
    (answers, "an unexplained error", lambda log, _: fail(call_of(log, 1), -32603)),
    (workers.one_worker_at_a_time, "two processes", lambda _, found: setattr(found, "workers", 2)),
    (workers.one_worker_at_a_time, "none", lambda _, found: setattr(found, "workers", 0)),
    (workers.one_worker_at_a_time, "two answer", lambda _, found: found.pids.add("78")),
    (
        workers.one_worker_at_a_time,
        "beside another",
        lambda _, found: found.taken.append(Taken(LAST, "beside another")),
    ),
    (
        workers.one_worker_at_a_time,
        "the first again",
        lambda _, found: found.taken.append(Taken(FIRST, None, 11, "pid")),
    ),
    (
        workers.a_worker_lives_on_unless_something_ends_it,
        "a new one without reason",
        lambda _, found: found.taken.append(Taken(78, None, 11, "pid")),
    ),
    (
        workers.a_worker_lives_on_unless_something_ends_it,
        "many that were never asked",
        lambda _, found: found.taken.extend([Taken(78, "alone"), Taken(79, "alone")]),
    ),
    (
        workers.a_worker_lives_on_unless_something_ends_it,
        "the one that crashed",
        lambda _, found: setattr(found, "taken", [taken for taken in found.taken if taken.pid == FIRST]),
    ),
    (
        workers.a_worker_lives_on_unless_something_ends_it,
        "another answers than was asked",
        lambda log, _: setattr(call_of(log, 9), "answer", json.dumps(result(9, "76")).encode()),
    ),
    (
        workers.nothing_reaches_a_worker_twice,
        "a call",
        lambda _, found: found.taken.append(Taken(LAST, None, 1, "count")),
    ),
    (workers.nothing_reaches_a_worker_twice, "an answer", lambda _, found: found.taken.append(Taken(LAST, reply="q1"))),
    (
        workers.what_was_answered_had_reached_a_worker,
        "made up",
        lambda log, _: log.calls.append(answered(11, "echo", "t")),
    ),
    (workers.an_error_has_its_reason, "its worker lives", lambda log, _: fail(call_of(log, 3), -32050)),
    (workers.an_error_has_its_reason, "a setting", fail_setting),
    (workers.an_error_has_its_reason, "lost in a replacement", fail_unreached),
    (workers.counts_go_on_exactly, "from 1 again", lambda _, found: setattr(found, "count", "1")),
    (workers.counts_go_on_exactly, "the same twice", lambda log, _: setattr(call_of(log, 2), "answer", told(2, "1"))),
    (workers.counts_go_on_exactly, "one too many", lambda _, found: setattr(found, "count", "4")),
    (workers.an_echo_comes_back, "another", lambda _, found: setattr(found, "echo", "u")),
    (workers.what_was_written_is_there_once, "gone", lambda _, found: found.files.clear()),
    (workers.what_was_written_is_there_once, "twice", lambda _, found: found.files.update(note="keptkept")),
    (
        workers.what_was_written_is_there_once,
        "without being asked",
        lambda _, found: setattr(found, "taken", [taken for taken in found.taken if taken.call != 8]),
    ),
    (workers.a_worker_was_told_what_the_client_settled, "no level", lambda _, found: found.heard.remove(TOLD[2])),
    (
        workers.a_worker_was_told_what_the_client_settled,
        "no subscription",
        lambda _, found: found.heard.remove(TOLD[3]),
    ),
    (workers.a_worker_was_told_what_the_client_settled, "not initialized", lambda _, found: found.heard.pop(1)),
    (
        workers.a_worker_was_told_what_the_client_settled,
        "initialized for a client that was not",
        lambda log, _: setattr(log, "initialized", Fate.UNSAID),
    ),
    (
        workers.a_worker_was_told_what_the_client_settled,
        "somebody else's subscription",
        lambda _, found: found.heard.append("resources/subscribe probe:///other"),
    ),
    (workers.a_worker_was_told_what_the_client_settled, "an undone subscription", lambda _, found: found.heard.pop()),
    (workers.a_worker_was_told_what_the_client_settled, "twice", lambda _, found: found.heard.append("initialize")),
    (
        workers.a_worker_was_told_what_the_client_settled,
        "initialized twice",
        lambda _, found: found.heard.append(TOLD[1]),
    ),
    (workers.a_new_worker_is_told_the_same_once, "twice", lambda _, found: found.heard_anew.append(TOLD[3])),
    (workers.a_new_worker_is_told_the_same_once, "nothing", lambda _, found: found.heard_anew.clear()),
    (
        workers.a_new_worker_is_told_the_same_once,
        "what the old one had not heard",
        lambda _, found: found.heard_anew.append("resources/subscribe probe:///unknown"),
    ),
    (workers.a_crash_counts_once, "more than once", lambda _, found: found.alive_after.update({4: False})),
    (workers.a_crash_counts_once, "not at all", lambda _, found: found.alive_after.update({5: True})),
    (
        streams.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "a gap",
        lambda log, _: log.listens[0].events.append(event("0", 1, 3, OTHER)),
    ),
    (
        streams.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "twice",
        lambda log, _: log.listens[0].events.append(HEARD[1]),
    ),
    (
        streams.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "what was seen already",
        lambda log, _: log.listens.append(Connection(HEARD[1].id, HEARD[1:])),
    ),
    (
        streams.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "a falling term",
        lambda log, _: log.listens[0].events.append(event("0", 0, 2, OTHER)),
    ),
    (
        streams.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "another stream",
        lambda log, _: log.listens[0].events.append(event("1-1", 1, 2, OTHER)),
    ),
    (
        streams.every_connection_is_whole_and_goes_on_where_it_was_asked_to,
        "no id",
        lambda log, _: log.listens[0].events.append(Seen(None, b"{}")),
    ),
    (streams.one_event_id_means_one_event, "other bytes", lambda _, found: put(whole(found, "1-1"), 0, progress(3, 5))),
    (
        streams.one_event_id_means_one_event,
        "another session's",
        lambda log, _: log.listens[0].events.append(Seen("99999999.0.1.2", b"{}")),
    ),
    (streams.every_stream_replays_what_was_seen, "a seen event is gone", lambda _, found: whole(found, "1-1").pop()),
    (streams.every_stream_replays_what_was_seen, "a gap", lambda _, found: whole(found, "1-1").pop(0)),
    (streams.every_stream_replays_what_was_seen, "twice", lambda _, found: whole(found, "1-1").insert(0, DONE[1])),
    (
        streams.every_stream_replays_what_was_seen,
        "the last event again",
        lambda _, found: found.replays["1-1"][2].events.append(DONE[3]),
    ),
    (
        streams.every_stream_replays_what_was_seen,
        "a short resume",
        lambda _, found: found.replays["1-1"][1].events.pop(),
    ),
    (
        streams.every_stream_replays_what_was_seen,
        "refused",
        lambda _, found: setattr(found.replays["1-1"][1], "status", 404),
    ),
    (streams.every_primed_request_has_exactly_one_answer, "silence", lambda _, found: whole(found, "1-2").pop()),
    (
        streams.every_primed_request_has_exactly_one_answer,
        "its client heard none",
        lambda log, _: setattr(call_of(log, "r4"), "answer", None),
    ),
    (
        streams.every_primed_request_has_exactly_one_answer,
        "two answers",
        lambda _, found: whole(found, "1-2").append(event("1-2", 2, 3, error("r4", -32050))),
    ),
    (
        streams.every_primed_request_has_exactly_one_answer,
        "not the last",
        lambda _, found: whole(found, "1-2").append(event("1-2", 2, 3, progress(4, 1))),
    ),
    (
        streams.every_primed_request_has_exactly_one_answer,
        "another than before",
        lambda _, found: put(whole(found, "1-1"), 2, error(3, -32050)),
    ),
    (
        streams.every_primed_request_has_exactly_one_answer,
        "an unexplained error",
        lambda _, found: put(whole(found, "1-2"), 1, error("r4", -32603)),
    ),
    (streams.progress_has_no_gap, "a gap", lambda _, found: put(whole(found, "1-2"), 0, progress(4, 1))),
    (streams.progress_has_no_gap, "too few", lambda _, found: whole(found, "1-1").pop(1)),
    (
        streams.no_message_is_on_a_stream_where_it_does_not_belong,
        "another call's",
        lambda _, found: put(whole(found, "1-1"), 0, progress(4, 0)),
    ),
    (
        streams.no_message_is_on_a_stream_where_it_does_not_belong,
        "another session's",
        lambda _, found: put(whole(found, "0"), 0, {"method": "notifications/message", "params": {"data": "u says"}}),
    ),
    (
        streams.no_message_is_on_a_stream_where_it_does_not_belong,
        "a change on a call's stream",
        lambda _, found: put(whole(found, "1-1"), 0, mark("t changed")),
    ),
    (
        streams.no_message_is_on_a_stream_where_it_does_not_belong,
        "a withdrawn question of a worker that lives",
        lambda _, found: withdraw(found),
    ),
    (streams.a_message_is_told_once, "on two streams", lambda _, found: put(whole(found, "1-1"), 0, HEARD[1].message)),
    (streams.a_message_is_told_once, "that nobody asked for", lambda _, found: put(whole(found, "0"), 0, mark("t x"))),
    (streams.a_message_is_not_lost, "a change", lambda _, found: whole(found, "0").pop(0)),
    (streams.a_message_is_not_lost, "a question", lambda _, found: whole(found, "1-3").pop(0)),
    (streams.nobody_resumes_the_stream_of_another_session, "let in", lambda _, found: setattr(found, "strange", 200)),
]


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


def test_evidence_of_a_replacement_that_failed_nobody_breaks_no_rule() -> None:
    log, found = sound()
    replaced(log, found).calls.append(Call(11, "pid", status=503))  # its worker crashed
    assert rules.violations(log, found) == []


def test_a_question_may_come_to_nobody_on_the_stream_of_a_call_that_its_client_lost() -> None:
    log, found = sound()
    unheard(log)
    rest = whole(found, "1-3")
    put(rest, 1, result(6, UNHEARD))
    call_of(log, 6).connections = [Connection(None, [ASKED[0], *rest])]
    assert rules.violations(log, found)
    log.calls.append(Call(11, "sleep"))
    assert rules.violations(log, found) == []


def test_an_error_may_stand_for_what_never_reached_a_worker() -> None:
    log, found = sound()
    log.calls.append(Call(11, "echo", answer=json.dumps(error(11, -32050)).encode()))
    assert rules.violations(log, found) == []


def test_a_request_may_be_interrupted_that_was_all_its_worker_ever_got() -> None:
    log, found = sound()
    found.ends = (How.KEEPER,)
    found.taken = [Taken(FIRST, "alone"), *(taken for taken in found.taken if taken.pid == LAST)]
    log.calls = [Call(11, "resources/subscribe", answer=json.dumps(error(11, -32050)).encode())]
    assert not list(workers.an_error_has_its_reason(log, found))


def test_a_worker_may_be_a_new_one_when_its_keeper_was_killed() -> None:
    log, found = sound()
    found.ends = (How.KEEPER,)
    found.taken.append(Taken(78, None, "survey-2", "pid"))
    assert not list(workers.a_worker_lives_on_unless_something_ends_it(log, found))


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
    log.calls.append(Call(11, "append", "written", file="note", sent=2))
    assert list(rules.a_stop_answers_what_it_took(log, found, last=2))
    assert not list(rules.a_stop_answers_what_it_took(log, found, last=4))


def test_a_call_that_a_stop_interrupted_without_need_is_found() -> None:
    log, found = sound()
    found.taken = [taken for taken in found.taken if taken.pid == LAST]
    log.calls.append(Call(11, "progress", sent=2, answer=json.dumps(error(11, -32050)).encode()))
    assert list(rules.a_stop_answers_what_it_took(log, found, last=2))


@pytest.mark.parametrize("term", [1, 0])
def test_a_term_that_does_not_rise_is_found(term: int) -> None:
    log, _ = sound()
    later = Call(8, "log", server=2, connections=[Connection(None, [event(f"{term}-9", term, 0)])])
    log.calls.append(later)
    assert list(rules.terms_rise([log]))


def test_two_sessions_with_one_id_are_found() -> None:
    assert list(rules.session_ids_are_unique([SessionLog("t", "same"), SessionLog("u", "same")]))
