"""Values come back exactly as they went in, or are refused with the path to what cannot be stored."""

from __future__ import annotations

import collections
import enum
import math
import tracemalloc
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.codec import decode, encode
from holdfast.model import Corrupt, Misused

from .storable import HASHABLE, VALUES, same


class Colour(enum.Enum):
    RED = 1
    ROSE = "rose"
    LIST = [1]  # noqa: RUF012  # unhashable on purpose


class Shade(enum.IntEnum):
    RED = 1


@given(st.dictionaries(HASHABLE, VALUES, max_size=5))
def test_whatever_is_storable_comes_back_exactly(metadata: dict[Any, Any]) -> None:
    """R-MGR-12."""
    assert same(decode(encode(metadata)), metadata)


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        2**64,
        -(2**63) - 1,
        10**500,
        -0.0,
        math.nan,
        -math.inf,
        Decimal("-0.00"),
        Decimal("sNaN12"),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Rome")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=-1, microseconds=5), "odd")),
        datetime.min,
        date.max,
        timedelta.min,
        UUID(int=2**128 - 1),
        {1: {"a": (1, [2], {3})}, (1, frozenset({b"x"})): None, None: True},
        [[], (), {}, set(), frozenset(), "", b""],
        "\0 é 😀",
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_values_at_the_edge_come_back_exactly(value: Any) -> None:
    """R-MGR-12."""
    assert same(decode(encode({"value": value})), {"value": value})


def test_an_enum_is_stored_by_its_value() -> None:
    """R-MGR-12."""
    stored = decode(encode({"a": Colour.RED, "b": [Shade.RED], Colour.ROSE: {Colour.ROSE}}))
    assert same(stored, {"a": 1, "b": [1], "rose": {"rose"}})


def test_what_comes_out_is_nobody_elses() -> None:
    """R-MGR-12."""
    metadata: dict[str, Any] = {"items": [1]}
    data = encode(metadata)
    metadata["items"].append(2)
    first = decode(data)
    first["items"].append(3)
    assert decode(data) == {"items": [1]}


class Text(str):
    pass


class Other(tzinfo):
    def utcoffset(self, at: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, at: datetime | None) -> timedelta:
        raise NotImplementedError

    def tzname(self, at: datetime | None) -> str:
        raise NotImplementedError


NAMED = collections.namedtuple("NAMED", "x")  # a class of its own is what is refused


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"cart": {"items": [1, 2, 3, {"price": 1j}]}}, r"metadata\.cart\.items\[3\]\.price: complex is not storable"),
        ({"f": len}, r"metadata\.f: builtin_function_or_method is not storable"),
        ({"a b": object()}, r"metadata\['a b'\]: object is not storable"),
        ({1: {None: object()}}, r"metadata\[1\]\[None\]: object is not storable"),
        ({"s": {1j}}, r"metadata\.s\{<complex>\}: complex is not storable"),
        ({"s": (1, object())}, r"metadata\.s\[1\]: object is not storable"),
        ({1j: 1}, r"metadata key <complex>: complex is not storable"),
        ({"x": Text("x")}, r"metadata\.x: Text is not storable: it would come back as str"),
        ({"x": NAMED(1)}, r"metadata\.x: NAMED is not storable: it would come back as tuple"),
        ({"x": collections.OrderedDict()}, r"metadata\.x: OrderedDict .* as dict"),
        ({"x": bytearray(b"x")}, r"metadata\.x: bytearray is not storable"),
        ({"x": time(1)}, r"metadata\.x: time is not storable"),
        ({"x": datetime(2024, 1, 1, tzinfo=Other())}, r"metadata\.x: tzinfo Other is not storable"),
        ({"x": "\ud800"}, r"metadata\.x: a str with a lone surrogate is not storable"),
        ({"\udfff": 1}, r"metadata key '\\udfff': a str with a lone surrogate"),
        ({Colour.RED: 1, 1: 2}, r"metadata: two keys or items become the same"),
        ({"s": {Colour.RED, 1}}, r"metadata\.s: two keys or items become the same"),
        ({Colour.LIST: 1}, r"metadata: two keys or items become the same"),
        ([], r"metadata is a dict, not list"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_path(metadata: Any, message: str) -> None:
    """R-MGR-12."""
    with pytest.raises(Misused, match=message):
        encode(metadata)


def nested(depth: int, wrap: Callable[[Any], Any]) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = wrap(value)
    return {"x": value}


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {1: v}, lambda v: frozenset({v})],
    ids=["list", "tuple", "dict", "dict of int", "frozenset"],
)
def test_nesting_is_bounded(wrap: Callable[[Any], Any]) -> None:
    """R-MGR-12."""
    deepest = nested(64, wrap)
    assert same(decode(encode(deepest)), deepest)
    with pytest.raises(Misused, match="nested deeper than 64"):
        encode(nested(65, wrap))


def test_what_holds_itself_is_refused() -> None:
    """R-MGR-12."""
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(Misused, match="holds itself"):
        encode({"knot": knot})


@pytest.mark.slow
def test_size_is_bounded_also_when_parts_are_shared() -> None:
    """R-MGR-12."""
    assert len(encode({"x": "a" * 90}, bytes_max=100)) <= 100
    for value in ("a" * 100, b"a" * 100, [0] * 1000, 2**10_000, Decimal("1" * 200)):
        with pytest.raises(Misused, match=r"100"):
            encode({"x": value}, bytes_max=100)
    many: list[Any] = [0]
    for _ in range(60):
        many = [many, many]
    with pytest.raises(Misused, match="bytes when encoded"):
        encode({"many": many})


@pytest.mark.parametrize(
    "hold",
    [
        lambda text: {str(at): text for at in range(200)},
        lambda text: {"x": [text] * 200},
        lambda text: {"x": {str(at): text for at in range(200)}},
        lambda text: {"x": text.encode(), "y": text.encode()},
        lambda text: {str(at): {text: 1} for at in range(200)},
    ],
    ids=["dict", "list", "inner dict", "bytes", "keys"],
)
def test_what_is_too_large_is_refused_before_it_is_encoded(hold: Callable[[str], dict[str, Any]]) -> None:
    """R-MGR-12: a text that is held many times over would take many times its size."""
    metadata = hold("x" * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(Misused, match="more than 1048576 bytes when encoded"):
            encode(metadata)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60))
def test_damage_is_told(data: bytes) -> None:
    """R-STO-2."""
    try:
        decode(data)
    except Corrupt:
        return
    assert type(decode(data)) is dict


@given(st.dictionaries(HASHABLE, VALUES, max_size=3), st.data())
def test_cut_off_metadata_is_corrupt(metadata: dict[Any, Any], data: st.DataObject) -> None:
    """R-STO-2."""
    whole = encode(metadata)
    with pytest.raises(Corrupt):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])
