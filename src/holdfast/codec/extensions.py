"""The msgpack extensions: one code for every type that msgpack does not know, and how each comes back.

Invariant: a code once released keeps its meaning, or stored sessions change theirs.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

BIGINT, TUPLE, SET, FROZENSET, DATETIME, DATE, TIMEDELTA, UUID_, DECIMAL, DICT = range(1, 11)


def unpack(code: int, data: memoryview) -> Any:
    """Return the value of one extension; raises whatever damage makes it raise."""
    return UNPACKERS[code](data)


loads: Final[Callable[[bytes | memoryview], Any]] = msgspec.msgpack.Decoder(ext_hook=unpack).decode


def _unzone(zone: str | int | list[Any] | None) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        return zoneinfo.ZoneInfo(zone)
    if isinstance(zone, int):
        return UTC if zone == 0 else timezone(timedelta(microseconds=zone))
    return timezone(timedelta(microseconds=zone[0]), zone[1])


def _undatetime(data: memoryview) -> datetime:
    *parts, fold, zone = loads(data)
    year, month, day, hour, minute, second, microsecond = parts
    return datetime(year, month, day, hour, minute, second, microsecond, _unzone(zone), fold=fold)


def _undict(data: memoryview) -> dict[Any, Any]:
    pairs = loads(data)
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


UNPACKERS: Final[dict[int, Callable[[memoryview], Any]]] = {
    BIGINT: lambda data: int.from_bytes(data, "big", signed=True),
    TUPLE: lambda data: tuple(loads(data)),
    SET: lambda data: set(loads(data)),
    FROZENSET: lambda data: frozenset(loads(data)),
    DATETIME: _undatetime,
    DATE: lambda data: date.fromordinal(loads(data)),
    TIMEDELTA: lambda data: timedelta(*loads(data)),
    UUID_: lambda data: UUID(bytes=bytes(data)),
    DECIMAL: lambda data: Decimal(str(data, "ascii")),
    DICT: _undict,
}
