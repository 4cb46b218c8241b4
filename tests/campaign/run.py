"""One run: load, the ends of the server that the seed says, and a verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.kit import PROBE, Served, serving

from . import disk, rules
from .evidence import Found, SessionLog
from .load import Client
from .plan import End, Plan
from .survey import seen_of, surveyed
from .world import World

MOMENT_S_MAX: Final = 1.5
CLIENT_S_MAX: Final = 60.0
LEFT_S_MAX: Final = 2.0


@dataclass(slots=True)
class Outcome:
    """What one run came to.

    `sessions` and `calls` were answered, `streams` and `events` seen by the clients, `resumed` is how often a stream
    was asked for again afterwards, `interrupted` how many of them ended with that error.
    """

    seed: int
    ends: list[str]
    sessions: int = 0
    calls: int = 0
    streams: int = 0
    resumed: int = 0
    events: int = 0
    interrupted: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def run(plan: Plan, folder: Path) -> Outcome:
    """Run one seed in an empty folder. Violations are in the outcome; each says what was expected and what found."""
    began = time.monotonic()
    outcome = Outcome(plan.seed, [str(end) for end in plan.ends])
    gentle = any(end.gentle for end in plan.ends)
    with serving(folder / "data", command=PROBE) as served:
        world = World()
        clients = [Client(world, served.port, plan.seed, number, gentle=gentle) for number in range(plan.clients)]
        threads = [threading.Thread(target=client.run, name=client.name, daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        outcome.violations += _ends(plan.ends, served, world)
        for thread in threads:
            thread.join(CLIENT_S_MAX)
            if thread.is_alive():
                outcome.violations.append(f"{thread.name} to come to an end; it waits for an answer")
        served.start()
        logs = [log for client in clients for log in client.logs]
        found, own = surveyed(served, logs, plan.seed)
        outcome.violations += _of_the_machine(served, logs, found, own)
        outcome.violations += _of_the_end(served)
        if plan.ends[-1].gentle:
            outcome.violations += _of_the_stop(logs, found, last=2 * len(plan.ends) - 2)
    _add_up(outcome, logs, found)
    outcome.seconds = time.monotonic() - began
    return outcome


def _ends(ends: Sequence[End], served: Served, world: World) -> Iterator[str]:
    """End the server as often as is planned and start it again, but for the last time, when the load is over too."""
    for number, end in enumerate(ends, 1):
        if end.moment is not None:
            world.wait_noted(end.moment, end.nth, MOMENT_S_MAX)
        threading.Event().wait(end.delay_s)  # not to wait for anything: to end it somewhere else each time
        world.turn()
        if not end.gentle:
            served.kill()
        elif (code := served.terminate()) != 0:
            yield f"exit code 0 after SIGTERM; found {code}"
        if number < len(ends):
            served.start()
            world.turn()
    world.finish()


def _of_the_machine(
    served: Served, logs: Sequence[SessionLog], found: dict[str, Found], own: SessionLog
) -> Iterator[str]:
    """Yield what is wrong about folders and processes, and count them into what was found of each session."""
    assert own.id is not None
    there, running = disk.folders(served.data), disk.workers(served.data)
    known = {disk.folder_of(served.data, own.id)}
    for log in logs:
        if log.id is not None:
            place = disk.folder_of(served.data, log.id)
            known.add(place)
            found[log.token].has_folder = place in there
            found[log.token].workers = running[place]
    begun = sum(log.id is None for log in logs)
    if len(there - known) > begun:
        yield f"at most {begun} sessions of which no client knows; found {len(there - known)}"
    if strange := set(running) - known:
        yield f"no worker of a session that nobody asked for; found {len(strange)}"


def _of_the_end(served: Served) -> Iterator[str]:
    """Stop the server, then yield what is left of it, what its journal lacks, and what went wrong in its log."""
    if (code := served.terminate()) != 0:
        yield f"exit code 0 at the end; found {code}"
    end = time.monotonic() + LEFT_S_MAX
    while (left := disk.processes(served.data)) and time.monotonic() < end:
        threading.Event().wait(0.02)
    if left:
        yield f"no process left; found {len(left)}"
    yield from disk.flaws_of_journal(served.data)
    if "Traceback" in served.log:
        yield f"a log without tracebacks; found {served.log[served.log.index('Traceback') :][:3000]}"


def _of_the_stop(logs: Sequence[SessionLog], found: dict[str, Found], last: int) -> Iterator[str]:
    for log in (log for log in logs if log.id is not None):
        for flaw in rules.a_stop_answers_what_it_took(log, found[log.token], last):
            yield f"session {log.shown}: {flaw}"


def _add_up(outcome: Outcome, logs: Sequence[SessionLog], found: dict[str, Found]) -> None:
    outcome.violations += [*rules.terms_rise(logs), *rules.session_ids_are_unique(logs)]
    for log in logs:
        flaws = rules.violations(log, found[log.token]) if log.id is not None else log.problems
        outcome.violations += [f"session {log.shown}: {flaw}" for flaw in flaws]
    replays = [replays for each in found.values() for replays in each.replays.values()]
    outcome.sessions = len(found)
    outcome.calls = sum(call.answer is not None for log in logs for call in log.calls)
    outcome.streams = len(replays)
    outcome.resumed = sum(len(each) for each in replays)
    outcome.events = sum(1 for log in logs for _ in seen_of(log))
    outcome.interrupted = sum(
        b'"code":%d' % rules.INTERRUPTED in each[0].events[-1].data.replace(b" ", b"")
        for each in replays if each and each[0].events
    )  # fmt: skip
