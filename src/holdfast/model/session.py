"""The durable record of one session."""

from __future__ import annotations

from math import inf
from typing import Final, Literal

import msgspec

State = Literal["active", "terminated"]

NEVER: Final = inf


class Record(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a store keeps of one session. Immutable all the way down, so stores and callers may share it.

    Times are seconds since the epoch, durations seconds. `version` starts at 1 and grows by 1 with every write;
    `term` is the fencing number of the node that owns the session, 0 while nobody does.
    `metadata` is the encoded form (`codec.values`): whoever wants the values decodes a copy of their own.
    A session that was deleted and created again under its id is another one: `created_at` tells them apart.
    """

    id: str
    version: int
    term: int
    created_at: float
    last_accessed: float
    timeout: float | None
    max_age: float | None
    owner: str | None
    tags: frozenset[str]
    state: State
    reason: str | None
    metadata: bytes

    def is_version_of(self, other: Record) -> bool:
        """Tell whether this is the same session in the same version, whatever accesses were told in between."""
        return self.version == other.version and self.created_at == other.created_at

    @property
    def expires_at(self) -> float:
        """The end that no access extends: `created_at + max_age`, or `NEVER`."""
        return NEVER if self.max_age is None else self.created_at + self.max_age

    @property
    def deadline(self) -> float:
        """The moment from which the session is expired unless it is accessed before, or `NEVER`."""
        timeout, max_age = self.timeout, self.max_age
        idle_end = NEVER if timeout is None else self.last_accessed + timeout
        return idle_end if max_age is None else min(idle_end, self.created_at + max_age)
