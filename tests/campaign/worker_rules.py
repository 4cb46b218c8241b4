"""What must be true of a session's workers: who they were, what reached them, what they remember and were told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

from .evidence import Call, Fate, Found, SessionLog
from .plan import ENDS_WORKERS, How

CRASHES_END: Final = 5


def one_worker_at_a_time(log: SessionLog, found: Found) -> Iterator[str]:
    if found.workers != 1:
        yield f"1 worker process; found {found.workers}"
    if len(found.pids) != 1:
        yield f"one worker to answer all of the racing first requests; found {sorted(found.pids)}"
    if beside := [taken.pid for taken in found.taken if taken.start not in (None, "alone")]:
        yield f"no worker to run beside another of its session; {beside} did"
    turns = [pid for pid, _ in groupby(taken.pid for taken in found.taken)]
    if len(set(turns)) != len(turns):
        yield f"no worker to be asked again after another was; found {turns}"


def a_worker_lives_on_unless_something_ends_it(log: SessionLog, found: Found) -> Iterator[str]:
    ended = sum(how in ENDS_WORKERS for how in found.ends)
    least, most = len(found.crashed) + 1, len(found.crashed) + 1 + ended
    if not least <= len(found.lives) <= most:
        yield f"{least} to {most} workers, for {len(found.crashed)} crashed and {ended} were ended; {found.lives} were"
    # The server may have ended while one was being started; or been paused between the keeper's word for one and the
    # record of its session, which it makes when it wakes: the next server has ended a worker without a record by then.
    if found.crashed or ended or How.PAUSE in found.ends:
        most += len(found.ends)
    if len(found.started) > most:
        yield f"{most} workers to be started at most; {found.started} were"
    for call in (call for call in log.calls if call.tool == "pid" and call.said is not None):
        taken = found.calls_taken.get(call.id)
        if taken is None or str(taken.pid) != call.said:
            yield f"{call.id!r} to be answered by whom it reached, {taken}; {call.said} answered"


def nothing_reaches_a_worker_twice(log: SessionLog, found: Found) -> Iterator[str]:
    calls = Counter(taken.call for taken in found.taken if taken.call is not None)
    if twice := [call for call, count in calls.items() if count > 1]:
        yield f"each call to reach a worker once; {twice} did more often"
    replies = Counter((taken.pid, taken.reply) for taken in found.taken if taken.reply is not None)
    if again := [reply for reply, count in replies.items() if count > 1]:
        yield f"each answer of the client to reach the worker that asked once; {again} did more often"


def what_was_answered_had_reached_a_worker(log: SessionLog, found: Found) -> Iterator[str]:
    for call in log.calls:
        if call.is_done and "/" not in call.tool and call.id not in found.calls_taken:
            yield f"a result of {call.tool} {call.id!r} only when a worker had it; none had"


def an_error_has_its_reason(log: SessionLog, found: Found) -> Iterator[str]:
    for call in log.calls:
        if call.answer is not None and not call.is_done and not may_be_interrupted(call, log, found):
            yield f"the result of {call.tool} {call.id!r}, whose worker lives; found {call.answer[:300]!r}"


def counts_go_on_exactly(log: SessionLog, found: Found) -> Iterator[str]:
    """A worker counts in its memory and in the order in which it is asked."""
    counted: Counter[int] = Counter()
    numbers: dict[int | str, str] = {}
    for taken in found.taken:
        if taken.tool == "count" and taken.call is not None:
            counted[taken.pid] += 1
            numbers[taken.call] = str(counted[taken.pid])
    for call in log.calls:
        if call.tool == "count" and call.said is not None and call.said != numbers.get(call.id):
            yield f"count {call.id!r} to be {numbers.get(call.id)}; found {call.said}"
    last = list(numbers.values())[-1:]
    if [found.count] != last:
        yield f"the last count to be {last}; found {found.count}"


def an_echo_comes_back(log: SessionLog, found: Found) -> Iterator[str]:
    if found.echo != log.token:
        yield f"an echo of {log.token}; found {found.echo}"


def what_was_written_is_there_once(log: SessionLog, found: Found) -> Iterator[str]:
    for call in (call for call in log.calls if call.file is not None):
        held, taken = found.files.get(call.file or ""), found.calls_taken.get(call.id)
        allowed = {call.tells}
        if taken is None:
            allowed = {None}
        elif taken.pid != found.lives[-1] and not call.is_done:
            allowed = {None, "", call.tells}  # it may have ended just then
        if held not in allowed:
            yield f"the file of {call.id!r} to hold one of {allowed}; it holds {held!r}"


def a_worker_was_told_what_the_client_settled(log: SessionLog, found: Found) -> Iterator[str]:
    yield from _flaws_of_told(log, found.heard)


def a_new_worker_is_told_the_same_once(log: SessionLog, found: Found) -> Iterator[str]:
    anew, before = _told(found.heard_anew), _told(found.heard)
    yield from _flaws_of_told(log, found.heard_anew)
    if len(set(anew)) != len(anew):
        yield f"a new worker to be told nothing twice; it heard {anew}"
    if (_level(anew), _subscribed(anew)) != (_level(before), _subscribed(before)):
        yield f"a new worker to be told what the one before had heard, {before}; it heard {anew}"


def a_crash_counts_once(log: SessionLog, found: Found) -> Iterator[str]:
    """Five of them end a session."""
    for crashes, alive in found.alive_after.items():
        ends_workers = any(how in ENDS_WORKERS for how in found.ends)  # one may have come before the crash did
        if not alive and crashes < CRASHES_END:
            yield f"a session to outlive {crashes} crashes; it ended"
        if alive and crashes >= CRASHES_END and found.close and not ends_workers:
            yield f"a session to end with crash {crashes}; it went on"


RULES: Final[tuple[Callable[[SessionLog, Found], Iterator[str]], ...]] = (
    one_worker_at_a_time,
    a_worker_lives_on_unless_something_ends_it,
    nothing_reaches_a_worker_twice,
    what_was_answered_had_reached_a_worker,
    an_error_has_its_reason,
    counts_go_on_exactly,
    an_echo_comes_back,
    what_was_written_is_there_once,
    a_worker_was_told_what_the_client_settled,
    a_new_worker_is_told_the_same_once,
    a_crash_counts_once,
)


def may_be_interrupted(call: Call, log: SessionLog, found: Found) -> bool:
    """Return whether an error may stand for the answer: it never reached a worker, or its worker ended."""
    taken = found.calls_taken.get(call.id)
    if log.deleted is not Fate.UNSAID or not found.lives:
        return True
    if "/" in call.tool:  # no tool; who got it is not written down, and may have got nothing else
        return len(found.started) > 1
    if taken is None:
        return bool(found.crashed) or set(found.ends) != {How.REPLACE}
    return taken.pid != found.lives[-1]


def _flaws_of_told(log: SessionLog, heard: list[str]) -> Iterator[str]:
    told = _told(heard)
    if told[:1] != ["initialize"] or told.count("initialize") > 1:
        yield f"initialize first, and once; the worker heard {told}"
    if told.count("notifications/initialized") > log.confirmed:
        yield f"notifications/initialized {log.confirmed} times at most; the worker heard {told}"
    initialized = "notifications/initialized" in told
    if initialized != (log.initialized is Fate.ACKNOWLEDGED) and log.initialized is not Fate.SAID:
        yield f"notifications/initialized ({log.initialized.name}); the worker heard {told}"
    if _level(told) not in log.levels:
        yield f"a log level out of {log.levels}; the worker heard {_level(told)}"
    subscribed = _subscribed(told)
    for uri, possible in log.subscriptions.items():
        if (uri in subscribed) not in possible:
            yield f"a subscription to {uri}: {possible}; the worker heard of {sorted(subscribed)}"
    if strange := subscribed - set(log.subscriptions):
        yield f"no subscription that was never asked for; the worker heard of {sorted(strange)}"


def _told(heard: list[str]) -> list[str]:
    return [word for word in heard if word not in ("tools/call", "notifications/cancelled")]


def _level(told: list[str]) -> str | None:
    return next((word.split()[1] for word in reversed(told) if word.startswith("logging/setLevel")), None)


def _subscribed(told: list[str]) -> set[str]:
    subscribed = set()
    for word in told:
        if word.startswith("resources/subscribe"):
            subscribed.add(word.split()[1])
        elif word.startswith("resources/unsubscribe"):
            subscribed.discard(word.split()[1])
    return subscribed
