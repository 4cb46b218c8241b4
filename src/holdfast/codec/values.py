"""Metadata to bytes and back, exactly: the types that come out are the types that went in.

Plain data (None, bool, int of 64 bits, float, str, bytes, list, dict) is msgpack as it is. Everything else is a
msgpack extension whose payload is msgpack again. An Enum is stored by its value.
"""

from __future__ import annotations

import zoneinfo
from typing import Any, Final

import msgspec

from ..model.errors import Corrupt, Misused
from .extensions import loads
from .packer import NotStorableError, Packer

BYTES_MAX: Final = 2**20

_SCALARS: Final = frozenset({type(None), bool, int, float})
_PLAIN_ITEMS_MAX: Final = 256
_SHORT: Final = 64

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


def _is_plain(metadata: dict[Any, Any], bytes_max: int) -> bool:  # noqa: PLR0911, PLR0912  # see below
    """Tell whether msgpack keeps `metadata` exactly. Only small and flat data is looked at; the rest is packed.

    So is what has more text than may be stored, to be refused before it is encoded: one text of a megabyte that is held
    many times over would be gigabytes. Short ones are not counted: that much is let pass, 16 MiB at the very most.

    Written out, because each call of a function would cost as much as looking at three values.
    """
    if len(metadata) > _PLAIN_ITEMS_MAX:
        return False
    left = bytes_max
    for key, item in metadata.items():
        if type(key) is not str:
            return False
        kind = type(item)
        if kind is str:
            if len(item) > _SHORT:
                left -= len(item)
        elif kind is list and len(item) <= _PLAIN_ITEMS_MAX:
            for inner in item:
                if type(inner) is str:
                    if len(inner) > _SHORT:
                        left -= len(inner)
                elif type(inner) not in _SCALARS:
                    return False
        elif kind is dict and len(item) <= _PLAIN_ITEMS_MAX:
            for name, inner in item.items():
                if type(name) is not str or len(name) > _SHORT:
                    return False
                if type(inner) is str:
                    if len(inner) > _SHORT:
                        left -= len(inner)
                elif type(inner) not in _SCALARS:
                    return False
        elif kind is bytes:
            left -= len(item)
        elif kind not in _SCALARS:
            return False
    return left >= 0
