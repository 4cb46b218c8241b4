"""Models taken apart into dicts, and whether what was put together again is what was taken apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import Enum
from functools import cached_property
from typing import Any, Final

import msgspec

from .packer import STORABLE, NotStorableError, step

_LISTS: Final = (list, tuple)
_SETS: Final = (set, frozenset)
_GROUPS: Final = _LISTS + _SETS


class Apart:
    """Turns models into dicts, all the way down; whatever else there is stays, and keeps its type."""

    __slots__ = ("_values_left", "_values_max")

    def __init__(self, values_max: int) -> None:
        # Invariant: what refers to its parts many times over ends too; each value costs a byte when it is encoded.
        self._values_left = self._values_max = values_max

    def take(self, value: Any) -> Any:
        """Return `value` without models.

        Raises:
            NotStorableError: There are more values than bytes may be stored.
        """
        self._values_left -= 1
        if self._values_left < 0:
            raise NotStorableError(f"it has more than {self._values_max} bytes when encoded; store less")
        kind = type(value)
        if kind is dict:
            return {self.take(key): self.take(item) for key, item in value.items()}
        if kind in _GROUPS:
            return kind(map(self.take, value))
        fields = None if kind in STORABLE else _fields(value)
        if fields is None:
            return _plain(value)
        if isinstance(value, msgspec.Struct):
            return self._struct(value, fields)
        is_root = getattr(kind, "__pydantic_root_model__", False)
        return self.take(fields["root"]) if is_root else {name: self.take(part) for name, part in fields.items()}

    def _struct(self, value: msgspec.Struct, fields: dict[str, Any]) -> Any:
        config = value.__struct_config__
        parts = [self.take(part) for part in fields.values()]
        if config.array_like:
            return parts if config.tag is None else [config.tag, *parts]
        tag = {} if config.tag_field is None else {config.tag_field: config.tag}
        return tag | dict(zip(value.__struct_encode_fields__, parts, strict=True))


def find_loss(was: Any, now: Any, values_max: int) -> None:
    """Compare a model with what it would be when it came back.

    A value may be of another type if that is what a field is declared as, and a model a dict where none is declared.

    Raises:
        NotStorableError: Something would be lost, or come back as something else; it says where.
    """
    if was is now:
        return
    kind, other = type(was), type(now)
    fields = None if kind in STORABLE else _fields(was)
    if fields is not None and kind is other:
        _find_in_fields(was, now, fields, values_max)
    elif kind is dict and other is dict:
        _find_in_dict(was, now, values_max)
    elif (fields is not None or kind is dict) and (other is dict or (kind is dict and _fields(now) is not None)):
        find_loss(Apart(values_max).take(was), Apart(values_max).take(now), values_max)
    elif kind in _LISTS and other in _LISTS and len(was) == len(now):
        for index, (before, after) in enumerate(zip(was, now, strict=True)):
            _find_inside(f"[{index}]", before, after, values_max)
    elif kind in _GROUPS and other in _GROUPS:
        if len(was) != len(now):
            raise NotStorableError(f"{len(was)} items would come back as {len(now)}")
    elif fields is not None or not _same(was, now):
        back_as = f"another {other.__name__}" if kind is other else other.__name__
        raise NotStorableError(f"{kind.__name__} would come back as {back_as}")


def _find_in_fields(was: Any, now: Any, fields: dict[str, Any], values_max: int) -> None:
    others = _fields(now) or {}
    for name, before in fields.items():
        if name not in others:
            raise NotStorableError("it would be lost").inside(step(name))
        _find_inside(step(name), before, others[name], values_max)
    kept = _beside(now, others)
    for name, before in _beside(was, fields).items():
        if name not in kept:
            raise NotStorableError("it is no field of its class, and would be lost").inside(step(name))
        _find_inside(step(name), before, kept[name], values_max)


def _find_in_dict(was: dict[Any, Any], now: dict[Any, Any], values_max: int) -> None:
    others = {_plain(key): after for key, after in now.items()}
    for key, before in was.items():
        if _plain(key) not in others:
            raise NotStorableError("it would be lost").inside(step(key))
        _find_inside(step(key), before, others[_plain(key)], values_max)


def _find_inside(at: str, was: Any, now: Any, values_max: int) -> None:
    try:
        find_loss(was, now, values_max)
    except NotStorableError as error:
        raise error.inside(at) from None


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a model; pydantic's by name, whatever it shows to others. None: it is no model."""
    kind = type(value)
    if isinstance(value, Enum):
        return None
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if not hasattr(kind, "model_dump"):
        return None
    names = getattr(kind, "model_fields", None)
    if names is None:
        return dict(value.model_dump())
    return {name: getattr(value, name) for name in names} | (value.__pydantic_extra__ or {})


def _beside(value: Any, fields: Iterable[str]) -> dict[str, Any]:
    """Return what a model holds besides its fields, and does not compute anew."""
    kind = type(value)
    held = {name: part for name, part in getattr(value, "__dict__", {}).items() if name not in fields}
    held = {name: part for name, part in held.items() if not isinstance(getattr(kind, name, None), cached_property)}
    return held | (getattr(value, "__pydantic_private__", None) or {})


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _same(was: Any, now: Any) -> bool:
    was, now = _plain(was), _plain(now)
    if type(was) not in STORABLE:  # beside the fields, such as a lock: there is one again
        return type(was) is type(now)
    return bool(was == now) or (was != was and now != now) or (type(was) is not type(now) and str(was) == str(now))  # noqa: PLR0124  # only what is no number differs from itself
