"""Metadata of a type of the user's: a dataclass, a msgspec.Struct or a pydantic model. pydantic is never imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from ..model.errors import Misused
from .values import BYTES_MAX, decode, encode

_KEPT_EXACTLY = (bytes, datetime, date, timedelta, UUID, Decimal)


def codec_for(
    metadata_type: type[Any] | None, bytes_max: int = BYTES_MAX
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Return how metadata of `metadata_type` (None: a dict) is encoded, in `bytes_max` bytes at most, and decoded.

    Fields of a model come back as their declared types say. Both raise what `values` raises, and `Misused` when the
    metadata is not of the type.

    Raises:
        Misused: It is no such type, or the bound is less than 1.
    """
    if type(bytes_max) is not int or bytes_max < 1:
        raise Misused(f"metadata_bytes_max is an int of 1 or more, not {bytes_max!r}")
    encoded = encode if bytes_max == BYTES_MAX else partial(encode, bytes_max=bytes_max)
    if metadata_type is None or metadata_type is dict:
        return encoded, decode
    if hasattr(metadata_type, "model_dump") and hasattr(metadata_type, "model_validate"):
        return _Pydantic(metadata_type, encoded).pair()
    if dataclasses.is_dataclass(metadata_type) or issubclass(metadata_type, msgspec.Struct):
        return _Model(metadata_type, encoded).pair()
    raise Misused(
        f"metadata_type is a dataclass, a msgspec.Struct or a pydantic model, not {metadata_type.__name__}; "
        "leave it out to store a dict"
    )


class _Model:
    """Dataclasses and msgspec.Structs: taken apart here, put together by msgspec, which checks every field's type."""

    def __init__(self, metadata_type: type[Any], encoded: Callable[[Any], bytes]) -> None:
        self._type = metadata_type
        self._encoded = encoded

    def pair(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        return self._encode, self._decode

    def _encode(self, metadata: Any) -> bytes:
        if not isinstance(metadata, self._type):
            raise Misused(f"metadata is a {self._type.__name__}, not {type(metadata).__name__}")
        try:
            plain = self._to_dict(metadata)
            data = self._encoded(plain)
            self._from_dict(plain)  # what cannot be read again is not stored
        except (TypeError, ValueError, RecursionError) as error:
            raise Misused(f"metadata of type {self._type.__name__} is not storable: {error}") from error
        return data

    def _decode(self, data: bytes) -> Any:
        stored = decode(data)
        try:
            return self._from_dict(stored)
        except (TypeError, ValueError) as error:
            raise Misused(f"the stored metadata does not fit {self._type.__name__}: {error}") from error

    def _to_dict(self, metadata: Any) -> Any:
        return _taken_apart(metadata)

    def _from_dict(self, stored: dict[Any, Any]) -> Any:
        return msgspec.convert(stored, self._type, builtin_types=_KEPT_EXACTLY)


def _taken_apart(value: Any) -> Any:
    """Return dicts instead of models, all the way down; whatever else there is stays, and keeps its type."""
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {} if config.tag_field is None else {config.tag_field: config.tag}
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return tag | {shown: _taken_apart(getattr(value, name)) for shown, name in names}
    if dataclasses.is_dataclass(kind):
        return {field.name: _taken_apart(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if kind is dict:
        return {_taken_apart(key): _taken_apart(item) for key, item in value.items()}
    if kind in (list, tuple, set, frozenset):
        return kind(map(_taken_apart, value))
    return value


class _Pydantic(_Model):
    """pydantic models, by the two methods every one of them has."""

    def _to_dict(self, metadata: Any) -> Any:
        return metadata.model_dump()

    def _from_dict(self, stored: dict[Any, Any]) -> Any:
        return self._type.model_validate(stored)
