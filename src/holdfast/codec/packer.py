"""Turns values into what msgpack keeps exactly, or says where it cannot."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

from .extensions import BIGINT, DATE, DATETIME, DECIMAL, DICT, FROZENSET, SET, TIMEDELTA, TUPLE, UUID_, unpack

DEPTH_MAX: Final = 64
_SHOWN_MAX: Final = 40
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1

_Ext = msgspec.msgpack.Ext
_dumps: Final = msgspec.msgpack.Encoder().encode


class NotStorableError(Exception):
    """Why a value is refused; the steps of the path to it are added on the way out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self._steps: list[str] = []

    def inside(self, step: str) -> NotStorableError:
        """Add one step of the path, from the inside out."""
        self._steps.append(step)
        return self

    def message(self) -> str:
        """Return the path and why."""
        return f"metadata{''.join(reversed(self._steps))}: {self.args[0]}"


class Packer:
    """Turns a value into one that msgpack keeps exactly."""

    __slots__ = ("_bytes_left", "_bytes_max")

    def __init__(self, bytes_max: int) -> None:
        # Invariant: every value costs at least a byte, so a value that refers to its parts many times over ends too.
        self._bytes_left = self._bytes_max = bytes_max

    def pack(self, value: Any, depth: int) -> Any:
        """Return what msgpack keeps exactly instead of `value`, which lies `depth` containers deep.

        Raises:
            NotStorableError: There is no such thing.
        """
        self._spend(1)
        kind = type(value)
        pack = _PACKERS.get(kind)
        if pack is not None:
            return pack(self, value, depth)
        if isinstance(value, Enum):
            return self.pack(value.value, depth + 1)
        for base in kind.__mro__[1:]:
            if base in _PACKERS:
                raise NotStorableError(f"{kind.__name__} is not storable: it would come back as {base.__name__}")
        raise NotStorableError(f"{kind.__name__} is not storable")

    def _as_is(self, value: Any, depth: int) -> Any:
        return value

    def _integer(self, value: int, depth: int) -> Any:
        if _INT_MIN <= value <= _INT_MAX:
            return value
        size_bytes = value.bit_length() // 8 + 1
        self._spend(size_bytes)
        return _Ext(BIGINT, value.to_bytes(size_bytes, "big", signed=True))

    def _text(self, value: str, depth: int) -> str:
        self._spend(len(value))
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotStorableError("a str with a lone surrogate is not storable") from None
        return value

    def _blob(self, value: bytes, depth: int) -> bytes:
        self._spend(len(value))
        return value

    def _dictionary(self, value: dict[Any, Any], depth: int) -> Any:
        _check_depth(depth)
        keys = [self._inside(f" key {_shown(key)}", key, depth) for key in value]
        items = [self._inside(step(key), item, depth) for key, item in value.items()]
        if all(type(key) is str for key in value):
            return dict(zip(keys, items, strict=True))
        return self._distinct(DICT, [part for pair in zip(keys, items, strict=True) for part in pair], len(value))

    def _sequence(self, value: Sequence[Any], depth: int) -> list[Any]:
        _check_depth(depth)
        return [self._inside(f"[{index}]", item, depth) for index, item in enumerate(value)]

    def _tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        return _Ext(TUPLE, _dumps(self._sequence(value, depth)))

    def _group(self, value: set[Any] | frozenset[Any], depth: int) -> Any:
        _check_depth(depth)
        items = [self._inside(f"{{{_shown(item)}}}", item, depth) for item in value]
        return self._distinct(SET if type(value) is set else FROZENSET, items, len(value))

    def _datetime(self, value: datetime, depth: int) -> Any:
        day = [value.year, value.month, value.day]
        moment = [value.hour, value.minute, value.second, value.microsecond]
        return _Ext(DATETIME, _dumps([*day, *moment, value.fold, _zone(value.tzinfo)]))

    def _date(self, value: date, depth: int) -> Any:
        return _Ext(DATE, _dumps(value.toordinal()))

    def _timedelta(self, value: timedelta, depth: int) -> Any:
        return _Ext(TIMEDELTA, _dumps([value.days, value.seconds, value.microseconds]))

    def _uuid(self, value: UUID, depth: int) -> Any:
        return _Ext(UUID_, value.bytes)

    def _decimal(self, value: Decimal, depth: int) -> Any:
        text = str(value).encode()
        self._spend(len(text))
        return _Ext(DECIMAL, text)

    def _distinct(self, code: int, items: list[Any], length: int) -> Any:
        payload = _dumps(items)
        # An Enum is stored by its value, which may be the same as another's or no key at all.
        try:
            distinct = len(unpack(code, memoryview(payload))) == length
        except TypeError:
            distinct = False
        if not distinct:
            raise NotStorableError("two keys or items become the same when an Enum is stored by its value")
        return _Ext(code, payload)

    def _inside(self, step: str, value: Any, depth: int) -> Any:
        try:
            return self.pack(value, depth + 1)
        except NotStorableError as error:
            raise error.inside(step) from None

    def _spend(self, size_bytes: int) -> None:
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            raise NotStorableError(f"it has more than {self._bytes_max} bytes when encoded; store less")


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise NotStorableError(f"it is nested deeper than {DEPTH_MAX}, or holds itself")


def step(key: object) -> str:
    """Return the step of a path that leads to what a container holds under `key`."""
    return f".{key}" if isinstance(key, str) and key.isidentifier() and len(key) <= _SHOWN_MAX else f"[{_shown(key)}]"


def _shown(value: object) -> str:
    """Return a short form that cannot fail: the repr of what is plain, the type of everything else."""
    if isinstance(value, (str, bytes)):
        return repr(value[:_SHOWN_MAX])
    if (type(value) is int and -_INT_MAX <= value <= _INT_MAX) or type(value) in (bool, float, type(None)):
        return repr(value)
    return f"<{type(value).__name__}>"


def _zone(zone: tzinfo | None) -> str | int | list[int | str] | None:
    """Return None (naive), the key of a ZoneInfo, or an offset in microseconds, with its name if it has one."""
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is not timezone:
        raise NotStorableError(
            f"tzinfo {type(zone).__name__} is not storable; use datetime.timezone or a ZoneInfo by key"
        )
    offset = zone.utcoffset(None)
    offset_us = offset // timedelta(microseconds=1)
    name = zone.tzname(None)
    return offset_us if name == timezone(offset).tzname(None) else [offset_us, name]


_PACKERS: Final[dict[type, Callable[[Packer, Any, int], Any]]] = {
    type(None): Packer._as_is,
    bool: Packer._as_is,
    float: Packer._as_is,
    int: Packer._integer,
    str: Packer._text,
    bytes: Packer._blob,
    list: Packer._sequence,
    tuple: Packer._tuple,
    dict: Packer._dictionary,
    set: Packer._group,
    frozenset: Packer._group,
    datetime: Packer._datetime,
    date: Packer._date,
    timedelta: Packer._timedelta,
    UUID: Packer._uuid,
    Decimal: Packer._decimal,
}

STORABLE: Final = frozenset(_PACKERS)
"""The types of values that come back exactly."""
