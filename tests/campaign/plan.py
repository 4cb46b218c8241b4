"""When and how the server ends, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LOAD_S_MAX: Final = 1.5
ADOPTING_S_MAX: Final = 0.3
STARTING_S_MAX: Final = 1.2
PAUSED_S_MAX: Final = 4.0
AT_ONCE_S_MAX: Final = 0.02
MOMENTS: Final = (
    "initialize sent",
    "initialize answered",
    "initialized sent",
    "initialized answered",
    "stream opened",
    "event seen",
    "stream answered",
    "delete sent",
    "delete answered",
    "listening",
    "change sent",
    "change answered",
    "crash sent",
    "question answered",
)
"""What an end may follow at once: something is on its way, or the client has just been told that it is kept."""
SAID: Final = "frame said"
HALF_SAID: Final = "half a frame said"
COMMITTED: Final = "committed"
BETWEEN: Final = (SAID, SAID, HALF_SAID, COMMITTED, COMMITTED)
"""Moments inside: a worker has written, or half of it; the journal has been written, which nobody was told yet."""
RESUMING: Final = "resume sent"


class How(StrEnum):
    """One way for a server to end."""

    KILL = "kill -9"
    BOTH = "kill -9 of server and keeper"
    KEEPER = "kill -9 of the keeper"
    PAUSE = "SIGSTOP and --replace"
    REPLACE = "--replace"
    STOP = "SIGTERM"


ENDS_WORKERS: Final = frozenset({How.BOTH, How.KEEPER, How.STOP})
MAY_REFUSE: Final = frozenset({How.KEEPER, How.PAUSE, How.STOP})
"""After these a request may be told to come again (503)."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of the server: `delay_s` after the start of the load or of the server, or after a moment came.

    An `early` one comes so long after the next server was begun, whether it is ready or not, and is kill -9 of all
    that run. A paused server goes on after `paused_s`.
    """

    how: How
    delay_s: float
    moment: str | None = None
    nth: int = 1
    early: bool = False
    paused_s: float = 0.0

    def __str__(self) -> str:
        since = f" after {self.moment!r} number {self.nth}" if self.moment else ""
        since += " after the next was begun" if self.early else ""
        paused = f" for {self.paused_s:.1f} s" if self.paused_s else ""
        return f"{self.how}{paused} {self.delay_s * 1000:.1f} ms{since}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed means. `answer` is the server's option."""

    seed: int
    kind: str
    ends: tuple[End, ...]
    answer: str
    clients: int = 6


def plan(seed: int) -> Plan:
    """Return what a seed means; each kind has its share of any run of seeds."""
    chance = random.Random(seed)
    kind = CYCLE[seed % len(CYCLE)]
    return Plan(seed, kind, KINDS[kind](chance), chance.choice(("auto", "stream")))


def _killed(chance: random.Random) -> tuple[End, ...]:
    return (_any(chance, How.KILL),)


def _killed_between(chance: random.Random) -> tuple[End, ...]:
    return (End(How.KILL, _soon(chance) / 4, chance.choice(BETWEEN), chance.randint(1, 60)),)


def _killed_twice(chance: random.Random) -> tuple[End, ...]:
    """The second comes while the next server starts, or adopts sessions, or has a client that resumes."""
    adopting = chance.choice(
        (
            End(How.KILL, chance.uniform(0, STARTING_S_MAX), early=True),
            End(How.KILL, chance.uniform(0, ADOPTING_S_MAX)),
            End(How.KILL, _soon(chance), RESUMING, chance.randint(1, 8)),
            End(How.KILL, _soon(chance) / 4, chance.choice(BETWEEN), chance.randint(1, 8)),
        )
    )
    return (_any(chance, How.KILL), adopting)


def _both(chance: random.Random) -> tuple[End, ...]:
    return (_any(chance, How.BOTH),)


def _keeper(chance: random.Random) -> tuple[End, ...]:
    return (_any(chance, How.KEEPER),)


def _paused(chance: random.Random) -> tuple[End, ...]:
    return (_pause(chance),)


def _replaced(chance: random.Random) -> tuple[End, ...]:
    return (_any(chance, How.REPLACE),)


def _replaced_twice(chance: random.Random) -> tuple[End, ...]:
    return (_any(chance, How.REPLACE), End(How.REPLACE, chance.uniform(0, ADOPTING_S_MAX)))


def _replaced_and_killed(chance: random.Random) -> tuple[End, ...]:
    """Everything is killed while one server takes over from the other, or the new one when it just has."""
    early = chance.random() < 0.7
    killed = End(How.KILL, chance.uniform(0, 2 * STARTING_S_MAX if early else ADOPTING_S_MAX), early=early)
    return (_any(chance, How.REPLACE), killed)


def _stopped(chance: random.Random) -> tuple[End, ...]:
    stop = End(How.STOP, chance.uniform(0, LOAD_S_MAX))
    return chance.choice(((stop,), (_any(chance, How.KILL), stop)))


def _mixed(chance: random.Random) -> tuple[End, ...]:
    hows = chance.choices(list(How), k=3)
    return tuple(_pause(chance) if how is How.PAUSE else _any(chance, how) for how in hows)


KINDS: Final[dict[str, Callable[[random.Random], tuple[End, ...]]]] = {
    "killed": _killed,
    "killed between": _killed_between,
    "killed twice": _killed_twice,
    "killed with keeper": _both,
    "keeper killed": _keeper,
    "paused": _paused,
    "replaced": _replaced,
    "replaced twice": _replaced_twice,
    "replaced, killed": _replaced_and_killed,
    "stopped": _stopped,
    "mixed": _mixed,
}
CYCLE: Final = (
    *KINDS,
    "killed between", "killed", "killed twice", "replaced", "killed between", "paused",
    "killed twice", "killed", "killed between", "replaced", "killed twice",
)  # fmt: skip


def _any(chance: random.Random, how: How) -> End:
    """Return an end at any time, or right after one of the moments."""
    if chance.random() < 0.4:
        return End(how, chance.uniform(0, LOAD_S_MAX))
    return End(how, _soon(chance), chance.choice(MOMENTS), chance.randint(1, 8))


def _pause(chance: random.Random) -> End:
    any_ = _any(chance, How.PAUSE)
    return End(How.PAUSE, any_.delay_s, any_.moment, any_.nth, paused_s=chance.uniform(0.2, PAUSED_S_MAX))


def _soon(chance: random.Random) -> float:
    """Return a delay of which a third is none at all, a third within a commit, and a third within an answer."""
    return chance.choice((0.0, chance.uniform(0, AT_ONCE_S_MAX / 10), chance.uniform(0, AT_ONCE_S_MAX)))
