"""What `demo upgrade` claims, decided from what it observed and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ...model import redacted
from .rules import KILLED, Claim, Counted, Heard, Sent

THINK_S: Final = 10


class LongCall(NamedTuple):
    """One call of `THINK_S` steps: its progress as told, how many steps of it before its server ended, its outcome."""

    progress: tuple[int, ...] = ()
    told_before: int = 0
    heard: Heard = Heard("silence", "nothing was heard")


class Knocked(NamedTuple):
    """New connections made while one server replaced the other, and how many of them were not answered."""

    made: int = 0
    failed: int = 0


NOBODY: Final = Knocked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen; None, or empty, until it is. `sent_before` counts the requests sent before the kill.

    `servers` are process ids in order; exit codes are negative for a signal. `calls` are the two long ones.
    """

    session: str | None = None
    sent: tuple[Sent, ...] = ()
    sent_before: int | None = None
    servers: tuple[int, ...] = ()
    kill_code: int | None = None
    replaced_code: int | None = None
    calls: tuple[LongCall, ...] = ()
    counts: tuple[Counted, ...] = ()
    knocked: Knocked = NOBODY
    stop_code: int | None = None
    nothing_left: bool = False


def upgrade_claims(seen: Seen) -> list[Claim]:
    """Return every claim of the story, judged; what was not observed does not hold."""
    return [
        _servers_ended(seen),
        _both_answered(seen),
        _progress_whole(seen),
        _same_process(seen),
        _same_session(seen),
        _none_refused(seen),
        _clean(seen),
    ]


def _servers_ended(seen: Seen) -> Claim:
    in_the_middle = [call.told_before for call in seen.calls if 0 < call.told_before < THINK_S]
    ended = seen.kill_code == KILLED and seen.replaced_code == 0 and len(set(seen.servers)) == 3
    pids = ", ".join(map(str, seen.servers)) or "none"
    evidence = f"servers {pids}; the first ended with {seen.kill_code}, the second with {seen.replaced_code}"
    sentence = "one server died by kill -9, the next was replaced, each in the middle of a call"
    return Claim(sentence, ended and len(in_the_middle) == 2, evidence)


def _both_answered(seen: Seen) -> Claim:
    made = [sent.method for sent in seen.sent].count("tools/call")
    once = made == len(seen.calls) + len(seen.counts)
    kinds = [call.heard.kind for call in seen.calls]
    told = "; ".join(f'{call.heard.kind} {call.heard.after_s:.1f} s later, "{call.heard.words}"' for call in seen.calls)
    evidence = f"{told or 'nothing'}; {made} calls were sent in all"
    return Claim("both calls were answered, and no call was sent twice", kinds == ["answer"] * 2 and once, evidence)


def _progress_whole(seen: Seen) -> Claim:
    whole = [call.progress == tuple(range(THINK_S)) for call in seen.calls]
    told = "; ".join(
        f"{call.told_before} steps before, {len(call.progress) - call.told_before} after" for call in seen.calls
    )
    return Claim(
        "the progress of both was told to its end: no step missing, none twice", whole == [True] * 2, told or "none"
    )


def _same_process(seen: Seen) -> Claim:
    workers = {counted.worker for counted in seen.counts} | {call.heard.worker for call in seen.calls}
    counts = [counted.number for counted in seen.counts]
    pids = ", ".join(map(str, workers)) or "none"
    evidence = f"answered by pid {pids}; its counter went {', '.join(map(str, counts)) or 'nowhere'}"
    sentence = "the tool's own process went on, with what it had in its memory"
    return Claim(sentence, len(workers) == 1 and counts == [1, 2, 3], evidence)


def _same_session(seen: Seen) -> Claim:
    later = seen.sent[seen.sent_before :] if seen.sent_before is not None else ()
    opened = [sent.method for sent in seen.sent].count("initialize")
    sessions = {sent.session for sent in later}
    holds = seen.session is not None and opened == 1 and sessions == {seen.session}
    names = ", ".join(sorted("none" if name is None else redacted(name) for name in sessions)) or "none"
    evidence = f"{opened} initialize in all; after the kill {len(later)} requests, session {names}"
    return Claim("the same client went on in the same session, without a new initialize", holds, evidence)


def _none_refused(seen: Seen) -> Claim:
    made, failed = seen.knocked
    evidence = f"{made} new connections meanwhile, {failed} of them not answered"
    holds = seen.replaced_code is not None and made > 0 and not failed
    return Claim("while one server replaced the other, no connection was refused", holds, evidence)


def _clean(seen: Seen) -> Claim:
    left = "nothing was left running" if seen.nothing_left else "something may still run"
    holds = seen.stop_code == 0 and seen.nothing_left
    return Claim(
        "asked to stop, the server stopped and left nothing running", holds, f"exit code {seen.stop_code}; {left}"
    )
