"""Values that can be stored, and when two of them are the same."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st


def same(left: Any, right: Any) -> bool:
    """Equal in type and value all the way down, with nan equal to nan and -0.0 not to 0.0."""
    compare: Callable[[Any, Any], bool] = COMPARED.get(type(left), operator.eq)
    return type(left) is type(right) and bool(compare(left, right))


def same_sequence(left: Any, right: Any) -> bool:
    return len(left) == len(right) and all(map(same, left, right))


def same_group(left: Any, right: Any) -> bool:
    return len(left) == len(right) and all(any(same(item, other) for other in right) for item in left)


def same_dict(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    return same_sequence(list(left), list(right)) and same_sequence(list(left.values()), list(right.values()))


def same_moment(left: datetime, right: datetime) -> bool:
    zones = type(left.tzinfo), str(left.tzinfo), left.utcoffset()
    return (
        left.replace(tzinfo=None) == right.replace(tzinfo=None)
        and left.fold == right.fold
        and zones == (type(right.tzinfo), str(right.tzinfo), right.utcoffset())
    )


COMPARED: dict[type, Callable[[Any, Any], bool]] = {
    float: lambda left, right: struct.pack("d", left) == struct.pack("d", right),
    list: same_sequence,
    tuple: same_sequence,
    set: same_group,
    frozenset: same_group,
    dict: same_dict,
    datetime: same_moment,
    Decimal: lambda left, right: bool(left.as_tuple() == right.as_tuple()),
}

OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
ZONES = (
    st.none()
    | st.just(UTC)
    | OFFSETS.map(timezone)
    | st.builds(timezone, OFFSETS, st.text(st.characters(codec="utf-8"), max_size=5))
    | st.sampled_from([ZoneInfo("Europe/Rome"), ZoneInfo("America/New_York"), ZoneInfo("UTC")])
)
HASHABLE_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.binary(max_size=8)
    | st.datetimes(timezones=ZONES)
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.decimals()
)
LEAVES = HASHABLE_LEAVES.filter(lambda value: not (type(value) is Decimal and value.is_snan()))
HASHABLE = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=4
)
VALUES = st.recursive(
    HASHABLE_LEAVES | HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
