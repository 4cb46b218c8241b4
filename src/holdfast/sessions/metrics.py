"""What a manager counts while it works."""

from __future__ import annotations

from typing import Final

import msgspec

from ..model.clock import stopwatch_ns

SAMPLED: Final = 63
"""One act in 64 is timed: a count that has none of these bits is."""
_UNIT_NS: Final = 100
_BUCKETS: Final = 48  # each of them up to 1.41 times the one before; the last is for whatever takes a second or more
_OPERATIONS: Final = ("create", "get", "update", "touch", "delete")


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long acts of one kind took, in seconds, by a sample of one in 64; each figure is right within 20 %."""

    samples: int
    p50_s: float
    p95_s: float
    p99_s: float


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a manager has done since it was made, and what its store keeps now.

    `total` and `by_state` are of the store, whoever put it there, without what is expired; the rest is of this manager.
    `updated` counts every write of a session that was there, of whatever kind. A hit is a `get` or `touch` that found
    its session, or such a write; a miss is one of these that found none. `peek`, `delete` and reading many are neither.
    `hit_rate` is hits of hits and misses, `eviction_rate` evicted of created, each 0 when there was none.
    `events_missed` were not told to subscribers that are there now, because these were too slow.
    """

    total: int
    by_state: dict[str, int]
    created: int
    updated: int
    deleted: int
    expired: int
    evicted: int
    hits: int
    misses: int
    hit_rate: float
    eviction_rate: float
    events_missed: int
    latency: dict[str, Latency]


class Meter:
    """Counts; each number is only ever raised."""

    __slots__ = ("_times", "created", "deleted", "evicted", "expired", "got", "misses", "touched", "updated")

    def __init__(self) -> None:
        self.created = self.got = self.touched = self.updated = self.deleted = 0
        self.expired = self.evicted = self.misses = 0
        self._times = {operation: [0] * _BUCKETS for operation in _OPERATIONS}

    def took(self, operation: str, began_ns: int) -> None:
        """Note how long an act took that began then, by the stopwatch."""
        squared = ((stopwatch_ns() - began_ns) // _UNIT_NS + 1) ** 2
        self._times[operation][min(squared.bit_length() - 1, _BUCKETS - 1)] += 1

    def read(self, by_state: dict[str, int], events_missed: int) -> Metrics:
        """Return the metrics as they are now."""
        hits = self.got + self.touched + self.updated
        return Metrics(
            total=sum(by_state.values()),
            by_state=by_state,
            created=self.created,
            updated=self.updated,
            deleted=self.deleted,
            expired=self.expired,
            evicted=self.evicted,
            hits=hits,
            misses=self.misses,
            hit_rate=hits / max(hits + self.misses, 1),
            eviction_rate=self.evicted / max(self.created, 1),
            events_missed=events_missed,
            latency={operation: _latency(times) for operation, times in self._times.items()},
        )


def _latency(times: list[int]) -> Latency:
    samples = sum(times)
    return Latency(samples=samples, **{f"p{of}_s": _quantile(times, samples * of / 100) for of in (50, 95, 99)})


def _quantile(times: list[int], rank: float) -> float:
    """Return the middle of the bucket in which lies what has `rank` others below it or beside it."""
    below = 0
    for bucket, count in enumerate(times):
        below += count
        if count and below >= rank:
            return float(_UNIT_NS * 1e-9 * 2 ** ((bucket + 0.5) / 2))
    return 0.0
