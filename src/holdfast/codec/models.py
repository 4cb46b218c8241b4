"""Metadata of a type of the user's: a dataclass, a msgspec.Struct or a pydantic model. pydantic is never imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from inspect import signature
from typing import Any
from uuid import UUID

import msgspec

from ..model.errors import Misused
from .packer import NotStorableError
from .parts import Apart, find_loss
from .values import BYTES_MAX, decode, encode

_KEPT_EXACTLY = (bytes, datetime, date, timedelta, UUID, Decimal)


def codec_for(
    metadata_type: type[Any] | None, bytes_max: int = BYTES_MAX
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Return how metadata of `metadata_type` (None: a dict) is encoded, in `bytes_max` bytes at most, and decoded.

    Fields of a model come back as their declared types say, pydantic's by their names, whatever aliases there are and
    whatever is excluded. Both raise what `values` raises, and `Misused` when the metadata is not of the type or of a
    subclass of it, or when something in it would be lost, with the path to that.

    Raises:
        Misused: It is no such type, or the bound is less than 1.
    """
    if type(bytes_max) is not int or bytes_max < 1:
        raise Misused(f"metadata_bytes_max is an int of 1 or more, not {bytes_max!r}")
    encoded = encode if bytes_max == BYTES_MAX else partial(encode, bytes_max=bytes_max)
    if metadata_type is None or metadata_type is dict:
        return encoded, decode
    if not isinstance(metadata_type, type):
        raise Misused(f"metadata_type is a class, not {metadata_type!r:.40}")
    if hasattr(metadata_type, "model_dump") and hasattr(metadata_type, "model_validate"):
        return _Pydantic(metadata_type, encoded, bytes_max).pair()
    if dataclasses.is_dataclass(metadata_type) or issubclass(metadata_type, msgspec.Struct):
        return _Model(metadata_type, encoded, bytes_max).pair()
    raise Misused(
        f"metadata_type is a dataclass, a msgspec.Struct or a pydantic model, not {metadata_type.__name__}; "
        "leave it out to store a dict"
    )


class _Model:
    """Taken apart here, put together by msgspec or pydantic, which check every field's type.

    Invariant: what was written comes back the same, because that is tried before it is written.
    """

    def __init__(self, metadata_type: type[Any], encoded: Callable[[Any], bytes], bytes_max: int) -> None:
        self._type = metadata_type
        self._encoded = encoded
        self._bytes_max = bytes_max

    def pair(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        return self._encode, self._decode

    def _encode(self, metadata: Any) -> bytes:
        if type(metadata) is not self._type:
            raise Misused(f"metadata is a {self._type.__name__}, not {type(metadata).__name__}")
        try:
            plain = Apart(self._bytes_max).take(metadata)
            data = self._encoded(plain)
            find_loss(metadata, self._from_dict(plain), self._bytes_max)
        except NotStorableError as error:
            raise Misused(error.message()) from error
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise Misused(f"metadata of type {self._type.__name__} is not storable: {error}") from error
        return data

    def _decode(self, data: bytes) -> Any:
        stored = decode(data)
        try:
            return self._from_dict(stored)
        except (TypeError, ValueError) as error:
            raise Misused(f"the stored metadata does not fit {self._type.__name__}: {error}") from error

    def _from_dict(self, stored: dict[Any, Any]) -> Any:
        return msgspec.convert(stored, self._type, builtin_types=_KEPT_EXACTLY)


class _Pydantic(_Model):
    """pydantic models, and what has the two methods that every one of them has."""

    def __init__(self, metadata_type: type[Any], encoded: Callable[[Any], bytes], bytes_max: int) -> None:
        super().__init__(metadata_type, encoded, bytes_max)
        validate = metadata_type.model_validate
        # Fields are stored by name. A pydantic that takes no names where there are aliases loses them, which is found.
        by_name = {"by_name": True, "by_alias": True}
        self._validate = (
            partial(validate, **by_name) if by_name.keys() <= signature(validate).parameters.keys() else validate
        )

    def _from_dict(self, stored: dict[Any, Any]) -> Any:
        return self._validate(stored)
