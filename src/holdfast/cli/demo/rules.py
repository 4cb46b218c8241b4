"""What the demo claims, decided from what it observed and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ...model import redacted
from ...model.jsonrpc import INTERRUPTED

KILLED: Final = -9


class Sent(NamedTuple):
    """One HTTP request of the client: its JSON-RPC method, or its verb if it had no body, and the session it named."""

    method: str
    session: str | None


class Heard(NamedTuple):
    """What became of the call in flight: its answer or an error (with its code), `after_s` seconds after the kill.

    `worker` is the process that answered.
    """

    kind: Literal["answer", "error", "silence"]
    words: str
    code: int | None = None
    after_s: float = 0.0
    worker: int | None = None


class Counted(NamedTuple):
    """What the counter in a worker's memory has come to, and the worker."""

    number: int
    worker: int


class Notes(NamedTuple):
    """The notes of the session, and the process that told them."""

    notes: tuple[str, ...]
    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen; None, or empty, until it is. `sent_before` counts the requests sent before the kill.

    `servers` are process ids in order; exit codes are negative for a signal.
    """

    session: str | None = None
    sent: tuple[Sent, ...] = ()
    sent_before: int | None = None
    servers: tuple[int, ...] = ()
    kill_code: int | None = None
    heard: Heard | None = None
    before: Notes | None = None
    after: Notes | None = None
    first_worker_gone: bool = False
    added: str | None = None
    last: Notes | None = None
    stop_code: int | None = None
    nothing_left: bool = False


class Claim(NamedTuple):
    """One sentence that must be true, whether it is, and what that was seen by."""

    sentence: str
    holds: bool
    evidence: str


def claims(seen: Observed) -> list[Claim]:
    """Return every claim of the demo, judged; what was not observed does not hold."""
    return [_it_died(seen), _nobody_initialized(seen), _not_silent(seen), _kept(seen), _goes_on(seen), _clean(seen)]


def _it_died(seen: Observed) -> Claim:
    holds = seen.kill_code == KILLED and len(set(seen.servers)) == 2 and seen.first_worker_gone
    ended = "ended with it" if seen.first_worker_gone else "was not seen to end"
    evidence = f"servers {_pids(seen.servers)}; the first ended with {seen.kill_code}, its worker {ended}"
    return Claim("server and keeper died by kill -9, and nothing of them lived on", holds, evidence)


def _nobody_initialized(seen: Observed) -> Claim:
    later = seen.sent[seen.sent_before :] if seen.sent_before is not None else ()
    opened = [sent.method for sent in seen.sent].count("initialize")
    sessions = {sent.session for sent in later}
    holds = seen.after is not None and seen.session is not None and opened == 1 and sessions == {seen.session}
    names = ", ".join(sorted("none" if name is None else redacted(name) for name in sessions)) or "none"
    evidence = f"{opened} initialize in all; after the kill {len(later)} requests, session {names}"
    return Claim("the same client went on in the same session, without a new initialize", holds, evidence)


def _not_silent(seen: Observed) -> Claim:
    heard = seen.heard or Heard("silence", "nothing was heard")
    holds = heard.kind == "answer" or (heard.kind == "error" and heard.code == INTERRUPTED)
    code = "" if heard.code is None else f" {heard.code}"
    return Claim(
        "the call in flight was not met with silence", holds, f"{heard.kind}{code} after {heard.after_s:.1f} s"
    )


def _kept(seen: Observed) -> Claim:
    before, after = seen.before, seen.after
    holds = before is not None and after is not None and len(before.notes) > 0 and before.notes == after.notes
    evidence = f"{_count(before)} before, {_count(after)} after"
    return Claim("every note taken before the kill is there after it", holds, evidence)


def _goes_on(seen: Observed) -> Claim:
    told = [notes for notes in (seen.before, seen.after, seen.last) if notes is not None]
    workers = tuple(notes.worker for notes in told)
    whole = len(told) == 3 and told[2].notes == (*told[1].notes, seen.added)
    holds = whole and workers[0] != workers[1] == workers[2]
    return Claim("a new worker serves the session and takes new notes", holds, f"workers {_pids(workers)}")


def _clean(seen: Observed) -> Claim:
    left = "nothing was left running" if seen.nothing_left else "something may still run"
    holds = seen.stop_code == 0 and seen.nothing_left
    evidence = f"exit code {seen.stop_code}; {left}"
    return Claim("asked to stop, the server stopped and left nothing running", holds, evidence)


def _count(notes: Notes | None) -> str:
    return "unknown" if notes is None else str(len(notes.notes))


def _pids(pids: tuple[int, ...]) -> str:
    return ", ".join(map(str, pids)) or "none"
