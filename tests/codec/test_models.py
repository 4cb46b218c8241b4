"""Metadata may be of a type of the user's."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from holdfast.codec.models import codec_for
from holdfast.model import Misused


class Size(enum.Enum):
    SMALL = "s"


@dataclasses.dataclass
class Item:
    name: str
    price: Decimal
    size: Size = Size.SMALL
    seen: datetime | None = None


@dataclasses.dataclass
class Cart:
    items: list[Item]
    tags: set[str] = dataclasses.field(default_factory=set)
    place: tuple[int, int] = (0, 0)
    raw: bytes = b"\xff"


class Basket(msgspec.Struct):
    cart: Cart
    count: int = 0


class Quacks:
    """A model by its methods, as pydantic's are."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        return dict(self.fields)

    @classmethod
    def model_validate(cls, fields: dict[str, Any]) -> Quacks:
        if "n" not in fields:
            raise ValueError("n is missing")
        return cls(**fields)


CART = Cart([Item("tea", Decimal("1.10"), seen=datetime(2024, 1, 2, 3, 4, 5, 6))], {"a", "b"}, (3, 4))


@pytest.mark.parametrize("metadata", [CART, Basket(CART, 2)], ids=lambda value: type(value).__name__)
def test_a_model_comes_back_as_its_type(metadata: Any) -> None:
    """R-MGR-12."""
    encode, decode = codec_for(type(metadata))
    assert decode(encode(metadata)) == metadata


def test_a_model_with_dump_and_validate_comes_back() -> None:
    """R-MGR-12."""
    encode, decode = codec_for(Quacks)
    assert decode(encode(Quacks(n=1, place=(1, 2)))).fields == {"n": 1, "place": (1, 2)}


def test_metadata_of_another_type_is_refused() -> None:
    """R-MGR-12."""
    encode, _ = codec_for(Cart)
    with pytest.raises(Misused, match="metadata is a Cart, not dict"):
        encode({})


def test_a_field_that_cannot_be_stored_is_refused() -> None:
    """R-MGR-12."""
    encode, _ = codec_for(Cart)
    with pytest.raises(Misused, match=r"metadata\.items\[0\]: object is not storable"):
        encode(Cart(items=[object()]))  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(Misused, match=r"metadata\.items\[0\]\.price: complex is not storable"):
        encode(Cart(items=[Item("tea", 1j)]))  # type: ignore[arg-type]  # wrong on purpose


def test_what_could_not_be_read_again_is_not_stored() -> None:
    """R-MGR-12."""
    encode, _ = codec_for(Cart)
    with pytest.raises(Misused, match=r"Cart is not storable: .*places?\b"):
        encode(Cart([], place=("a", "b")))  # type: ignore[arg-type]  # wrong on purpose
    bad = Cart([])
    bad.items.append(bad)  # type: ignore[arg-type]  # it holds itself
    with pytest.raises(Misused):
        encode(bad)


@dataclasses.dataclass
class Loose:
    anything: Any
    pairs: dict[Any, Any]


def test_what_no_type_says_keeps_its_own() -> None:
    """R-MGR-12."""
    encode, decode = codec_for(Loose)
    loose = Loose([{1, 2}, (3,), frozenset({4})], {(1, 2): {"a"}, 3: b"x"})
    assert decode(encode(loose)) == loose
    # Nested models have no type to come back to there: they are dicts.
    assert decode(encode(Loose(Item("tea", Decimal(1)), {}))).anything["name"] == "tea"


class Dog(msgspec.Struct, tag="dog", rename="camel"):
    good_boy: bool = True


class Cat(msgspec.Struct, tag="cat"):
    lives: int = 9


class Home(msgspec.Struct):
    pets: list[Dog | Cat]


def test_tagged_structs_come_back_as_what_they_were() -> None:
    """R-MGR-12."""
    encode, decode = codec_for(Home)
    home = Home([Dog(), Cat(3), Dog(good_boy=False)])
    assert decode(encode(home)) == home


def test_stored_metadata_that_does_not_fit_is_told() -> None:
    """R-MGR-12."""
    encode, _ = codec_for(None)
    for kind in (Cart, Quacks):
        with pytest.raises(Misused, match=f"does not fit {kind.__name__}"):
            codec_for(kind)[1](encode({"other": 1}))


def test_a_type_that_is_no_model_is_refused() -> None:
    """R-MGR-12."""
    with pytest.raises(Misused, match="not int"):
        codec_for(int)
