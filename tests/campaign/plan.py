"""When the server dies, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

LOAD_S_MAX: Final = 1.5
ADOPTING_S_MAX: Final = 0.3
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
)
"""What a kill may follow at once: something is on its way, or the client has just been told that it is kept."""
RESUMING: Final = "resume sent"


@dataclass(frozen=True, slots=True)
class End:
    """One end of the server: `delay_s` after the start of the load or of the server, or after a moment came.

    `gentle` is SIGTERM, else kill -9.
    """

    delay_s: float
    moment: str | None = None
    nth: int = 1
    gentle: bool = False

    def __str__(self) -> str:
        how = "SIGTERM" if self.gentle else "kill -9"
        since = f" after {self.moment!r} number {self.nth}" if self.moment else ""
        return f"{how} {self.delay_s * 1000:.0f} ms{since}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed means."""

    seed: int
    ends: tuple[End, ...]
    clients: int = 6


def crashes(seed: int) -> Plan:
    """Return a plan of one kill, or of two of which the second comes while the restarted server adopts sessions."""
    chance = random.Random(seed)
    at_random = End(chance.uniform(0, LOAD_S_MAX))
    at_once = End(_soon(chance), chance.choice(MOMENTS), chance.randint(1, 8))
    adopting = chance.choice((End(chance.uniform(0, ADOPTING_S_MAX)), End(_soon(chance), RESUMING, at_once.nth)))
    return Plan(seed, ((at_random,), (at_once,), (at_random, adopting), (at_once,))[seed % 4])


def stops(seed: int) -> Plan:
    """Return a plan of one SIGTERM; some come right after a kill."""
    chance = random.Random(seed)
    stop = End(chance.uniform(0, LOAD_S_MAX), gentle=True)
    killed = End(chance.uniform(0, LOAD_S_MAX))
    return Plan(seed, (killed, stop) if seed % 3 == 2 else (stop,))


def _soon(chance: random.Random) -> float:
    """Return a delay of which a third is none at all, a third within a commit, and a third within an answer."""
    return chance.choice((0.0, chance.uniform(0, AT_ONCE_S_MAX / 10), chance.uniform(0, AT_ONCE_S_MAX)))
