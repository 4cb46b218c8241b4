"""Metadata to bytes and back, exactly: the types that come out are the types that went in.

Plain data (None, bool, int of 64 bits, float, str, bytes, list, dict) is msgpack as it is. Everything else is a
msgpack extension whose payload is msgpack again. An Enum is stored by its value.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Collection
from typing import Any, Final

import msgspec

from ..model.errors import Corrupt, Misused
from .extensions import loads
from .packer import NotStorableError, Packer

BYTES_MAX: Final = 2**20

_LEAVES: Final = frozenset({type(None), bool, int, float})
_PLAIN_ITEMS_MAX: Final = 256
_MUCH: Final = float("inf")

_dumps: Final = msgspec.msgpack.Encoder().encode


def encode(metadata: dict[Any, Any], *, bytes_max: int = BYTES_MAX) -> bytes:
    """Return `metadata` as bytes that share nothing with it.

    Raises:
        Misused: Something in it is not storable (the message holds its path), it is nested deeper than 64, or its
            encoded form has more than `bytes_max` bytes.
    """
    if type(metadata) is not dict:
        raise Misused(f"metadata is a dict, not {type(metadata).__name__}")
    try:
        data = _dumps(metadata if _is_plain(metadata, bytes_max) else Packer(bytes_max).pack(metadata, 0))
    except (OverflowError, UnicodeEncodeError):
        # Plain but for a huge integer, which is storable, or a lone surrogate, which is not: the packer tells.
        data = _encode_packed(metadata, bytes_max)
    except NotStorableError as error:
        raise Misused(error.message()) from error
    if len(data) > bytes_max:
        raise Misused(f"metadata has {len(data)} bytes when encoded, the bound is {bytes_max}; store less")
    return data


def decode(data: bytes) -> dict[Any, Any]:
    """Return the metadata that `encode` was given, as new objects.

    Raises:
        Corrupt: The bytes are damaged, or name a time zone that is not installed here.
    """
    try:
        value = loads(data)
    except zoneinfo.ZoneInfoNotFoundError as error:
        raise Corrupt(f"stored metadata needs a time zone that is not here: {error}; install tzdata") from error
    except (msgspec.DecodeError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise Corrupt(f"stored metadata is damaged: {error}") from error
    if type(value) is not dict:
        raise Corrupt(f"stored metadata is damaged: it is a {type(value).__name__}, not a dict")
    return value


def _encode_packed(metadata: dict[Any, Any], bytes_max: int) -> bytes:
    try:
        return _dumps(Packer(bytes_max).pack(metadata, 0))
    except NotStorableError as error:
        raise Misused(error.message()) from error


def _is_plain(metadata: dict[Any, Any], bytes_max: int) -> bool:
    """Tell whether msgpack keeps `metadata` exactly. Only small and flat data is looked at; the rest is packed.

    So is what has more text than may be stored, to be refused before it is encoded: one text of a megabyte that is held
    many times over would be gigabytes. Each call of a function costs as much as looking at three values.
    """
    if len(metadata) > _PLAIN_ITEMS_MAX:
        return False
    left: float = bytes_max
    for key, item in metadata.items():
        if type(key) is not str:
            return False
        kind = type(item)
        if kind is str or kind is bytes:
            left -= len(item) + len(key)
        elif kind is list:
            left -= len(key) + _flat_size(item)
        elif kind is dict:
            left -= len(key) + _flat_size(item.values())
            for name in item:
                if type(name) is not str:
                    return False
                left -= len(name)
        elif kind in _LEAVES:
            left -= len(key)
        else:
            return False
    return left >= 0


def _flat_size(values: Collection[Any]) -> float:
    """Return how much text there is in values that msgpack keeps exactly; infinite when they are others, or many."""
    if len(values) > _PLAIN_ITEMS_MAX:
        return _MUCH
    size = 0
    for value in values:
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif kind not in _LEAVES:
            return _MUCH
    return size
