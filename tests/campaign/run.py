"""One run: load, the ends of the server that the seed says, and a verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.kit import McpClient

from . import disk, rules
from .ends import Ender
from .evidence import Found, Seen, SessionLog, place_of
from .load import Client
from .marks import marks
from .plan import HALF_SAID, MAY_REFUSE, SAID, How, Plan
from .servers import Servers, servers
from .survey import Surveyor, seen_of
from .world import World

AFTER_S: Final = 0.4
CLIENT_S_MAX: Final = 60.0
LEFT_S_MAX: Final = 2.0


@dataclass(slots=True)
class Outcome:
    """What one run came to.

    `sessions` and `calls` were answered, `streams` and `events` seen by the clients. Of the calls, `carried` were under
    way at an end and answered by a later server, `failed` were answered with an error. Of the events, `unsent` were in
    the journal when a server ended and had not reached the client; `unkept` had been said by then and were journaled by
    a later one.
    """

    seed: int
    kind: str
    ends: list[str]
    sessions: int = 0
    calls: int = 0
    carried: int = 0
    failed: int = 0
    streams: int = 0
    events: int = 0
    unsent: int = 0
    unkept: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def run(plan: Plan, folder: Path) -> Outcome:
    """Run one seed in an empty folder. Violations are in the outcome; each says what was expected and what found."""
    began = time.monotonic()
    outcome = Outcome(plan.seed, plan.kind, [str(end) for end in plan.ends])
    world, data, pipe = World(), folder / "data", folder / "marks"
    with marks(world, data, pipe) as moments, servers(data, *_options(plan, pipe)) as served:
        ender = Ender(served, world, moments)
        lenient = any(end.how in MAY_REFUSE for end in plan.ends)
        clients = [Client(world, served.port, plan.seed, number, lenient=lenient) for number in range(plan.clients)]
        outcome.violations += _loaded(plan, ender, world, clients)
        logs = [log for client in clients for log in client.logs]
        surveyor, own = Surveyor(served, plan.seed, began), served.opened()
        found = surveyor.all(logs)
        for each in found.values():
            each.ends = tuple(end.how for end in plan.ends)
        outcome.violations += _of_the_machine(served, logs, found, own)
        surveyor.crash(logs, found)
        outcome.violations += _of_the_end(served)
        if plan.ends[-1].how is How.STOP:
            outcome.violations += _of_the_stop(logs, found, ender.last_state)
    _add_up(outcome, logs, found, ender.began_ns[0])
    outcome.seconds = time.monotonic() - began
    return outcome


def _options(plan: Plan, pipe: Path) -> list[str]:
    options = ["--answer", plan.answer, "--env", f"PROBE_TAKEN={disk.NOTES}"]
    if any(end.moment in (SAID, HALF_SAID) for end in plan.ends):
        options += ["--env", f"PROBE_MARKS={pipe}"]
    return options


def _loaded(plan: Plan, ender: Ender, world: World, clients: Sequence[Client]) -> Iterator[str]:
    """Let clients act while the server ends as planned, and then until everything they began is answered."""
    threads = [threading.Thread(target=client.run, name=client.name, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    yield from ender.perform(plan.ends)
    threading.Event().wait(AFTER_S)
    world.finish()
    last = time.monotonic() + CLIENT_S_MAX
    for thread, client in zip(threads, clients, strict=True):
        thread.join(max(0.0, last - time.monotonic()))
        if thread.is_alive():
            yield f"{thread.name} to come to an end; it waits for {', '.join(client.waiting())}"


def _of_the_machine(
    served: Servers, logs: Sequence[SessionLog], found: dict[str, Found], own: McpClient
) -> Iterator[str]:
    """Yield what is wrong about folders and processes, and count them into what was found of each session."""
    assert own.session is not None
    there, running = disk.folders(served.data), disk.workers(served.data)
    known = {disk.folder_of(served.data, own.session)}
    for log in logs:
        if log.id is not None:
            place = disk.folder_of(served.data, log.id)
            known.add(place)
            found[log.token].has_folder = place in there
            found[log.token].workers = running[place]
    begun = sum(log.id is None for log in logs)
    if len(there - known) > begun:
        yield f"at most {begun} sessions of which no client knows; found {len(there - known)}"
    if len(strange := set(running) - known) > begun:
        yield f"at most {begun} workers of a session that no client knows; found {len(strange)}"


def _of_the_end(served: Servers) -> Iterator[str]:
    """Stop the server, then yield what is left of it, what its journal lacks, and what went wrong in its log."""
    if (code := served.terminate()) != 0:
        yield f"exit code 0 at the end; found {code}"
    end = time.monotonic() + LEFT_S_MAX
    while (left := disk.processes(served.data)) and time.monotonic() < end:
        threading.Event().wait(0.02)
    if left:
        yield f"no process left; found {[process.command for process in left]}"
    yield from disk.flaws_of_journal(served.data)
    if "Traceback" in served.log:
        yield f"a log without tracebacks; found {served.log[served.log.index('Traceback') :][:3000]}"


def _of_the_stop(logs: Sequence[SessionLog], found: dict[str, Found], last: int) -> Iterator[str]:
    for log in (log for log in logs if log.id is not None):
        for flaw in rules.a_stop_answers_what_it_took(log, found[log.token], last):
            yield f"session {log.shown}: {flaw}"


def _add_up(outcome: Outcome, logs: Sequence[SessionLog], found: dict[str, Found], ended_ns: int) -> None:
    outcome.violations += [*rules.terms_rise(logs), *rules.session_ids_are_unique(logs)]
    for log in logs:
        flaws = rules.violations(log, found[log.token]) if log.id is not None else log.problems
        outcome.violations += [f"session {log.shown}: {flaw}" for flaw in flaws]
    outcome.sessions = len(found)
    outcome.streams = sum(len(each.replays) for each in found.values())
    outcome.events = sum(1 for log in logs for _ in seen_of(log))
    for call in (call for log in logs for call in log.calls):
        outcome.calls += call.answer is not None
        outcome.failed += call.answer is not None and not call.is_done
        outcome.carried += len(call.connections) > 1 and call.is_done
        for before, after in pairwise(call.connections):
            if before.last_id is not None:
                term = place_of(before.last_id).term
                outcome.unsent += sum(place_of(event.id).term == term for event in after.events if event.id is not None)
                outcome.unkept += sum(_said_ns(event) < ended_ns for event in after.events if _term_of(event) > term)


def _term_of(event: Seen) -> int:
    return place_of(event.id).term if event.id is not None else 0


def _said_ns(event: Seen) -> int:
    """Return when a worker said it, or infinitely late where it does not tell."""
    message = event.message or {}
    if message.get("method") != "notifications/progress":
        return 1 << 63
    return int(message["params"]["message"].split()[0])
