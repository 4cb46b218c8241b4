"""Metadata may be of a type of the user's."""

from __future__ import annotations

import dataclasses
import enum
import functools
import threading
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
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


@pytest.mark.parametrize("kind", [int, 5, "Cart", Cart([]), list[int]], ids=repr)
def test_a_type_that_is_no_model_is_refused(kind: Any) -> None:
    """R-MGR-12."""
    with pytest.raises(Misused, match="metadata_type is a"):
        codec_for(kind)


class Price(pydantic.BaseModel):
    amount: Decimal = pydantic.Field(alias="Amount")
    note: str = pydantic.Field(default="", exclude=True)
    size: Size = Size.SMALL


class Offer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", serialize_by_alias=True)

    prices: list[Price] = pydantic.Field(default=[], validation_alias=pydantic.AliasChoices("Prices", "p"))
    item: Item | None = None
    raw: bytes = b"\xff"
    _seen: int = pydantic.PrivateAttr(default=0)
    _lock: Any = pydantic.PrivateAttr(default_factory=object)

    @pydantic.computed_field  # type: ignore[prop-decorator]  # as pydantic says
    @property
    def total(self) -> Decimal:
        return sum((price.amount for price in self.prices), Decimal(0))

    @pydantic.field_serializer("raw")
    def shown(self, raw: bytes) -> str:
        return raw.hex()


class Names(pydantic.RootModel[dict[str, int]]):
    pass


PRICE = Price(Amount=Decimal("1.10"), note="tea")


@pytest.mark.parametrize(
    "model",
    [
        PRICE,
        Offer.model_validate({"Prices": [PRICE], "item": CART.items[0], "colour": "red"}),
        Offer(),
        Names({"a": 1}),
    ],
    ids=repr,
)
def test_a_pydantic_model_comes_back_whatever_it_shows_to_others(model: pydantic.BaseModel) -> None:
    """R-MGR-12: by other names, not at all, or in another form."""
    encode, decode = codec_for(type(model))
    found = decode(encode(model))
    assert type(found) is type(model)
    assert found.__dict__ == model.__dict__
    assert found.__pydantic_extra__ == model.__pydantic_extra__


class Listed(msgspec.Struct, array_like=True, tag=True):
    a: int
    b: int = 2


class Lists(msgspec.Struct, omit_defaults=True, rename={"one": "1"}, kw_only=True):
    one: Listed
    more: tuple[Listed, ...] = ()


@dataclasses.dataclass(kw_only=True, slots=True)
class Derived:
    n: int
    double: int = dataclasses.field(init=False)
    hits: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.double = 2 * self.n


@dataclasses.dataclass
class Busy:
    n: int

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.log: list[int] = []

    @functools.cached_property
    def square(self) -> int:
        return self.n * self.n


def test_a_model_of_any_form_comes_back() -> None:
    """R-MGR-12."""
    counted = Derived(n=2)
    counted.hits = 7
    for model in (Lists(one=Listed(1), more=(Listed(2, 3),)), Derived(n=2), counted):
        encode, decode = codec_for(type(model))
        assert decode(encode(model)) == model


def test_what_a_model_makes_anew_is_nothing_to_keep() -> None:
    """R-MGR-12."""
    encode, decode = codec_for(Busy)
    busy = Busy(3)
    assert busy.square == 9
    assert decode(encode(busy)) == busy


class More(Item):
    pass


@dataclasses.dataclass
class Bigger(Cart):
    extra: int = 0


class Twice(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n *= 2


class Open(msgspec.Struct, dict=True):
    n: int = 0


class Table(msgspec.Struct):
    rows: list[list[Item]] = []
    by_size: dict[Size, Item] = {}
    some: set[int] = set()
    share: float = 0.0


@dataclasses.dataclass
class Salted:
    n: int
    salt: dataclasses.InitVar[int] = 1


def changed(model: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("kind", "model", "message"),
    [
        (Cart, Bigger([]), "metadata is a Cart, not Bigger"),
        (Cart, Cart([More("tea", Decimal(1))]), r"metadata\.items\[0\]: More would come back as Item"),
        (Table, Table([[], [More("tea", Decimal(1))]]), r"metadata\.rows\[1\]\[0\]: More would come back as Item"),
        (Table, Table(by_size={Size.SMALL: More("tea", Decimal(1))}), r"metadata\.by_size\[<Size>\]: More would come"),
        (Table, Table(some=[1, 1]), r"metadata\.some: 2 items would come back as 1"),  # type: ignore[arg-type]  # that is the fault
        (Table, Table(share=2**60 + 1), r"metadata\.share: int would come back as float"),
        (Derived, changed(Derived(n=2), double=5), r"metadata\.double: int would come back as another int"),
        (Busy, changed(Busy(2), log=[1]), r"metadata\.log: 1 items would come back as 0"),
        (Busy, changed(Busy(2), owner=1), r"metadata\.owner: it is no field of its class, and would be lost"),
        (Twice, Twice(1), r"metadata\.n: int would come back as another int"),
        (Open, changed(Open(), more=1), r"metadata\.more: it is no field"),
        (Salted, Salted(1), "InitVar"),
        (Offer, changed(Offer(), _seen=3), r"metadata\._seen: int would come back as another int"),
        (Offer, Offer.model_construct(prices=[1]), "Offer is not storable"),
        (Cart, object.__new__(Cart), "Cart is not storable"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_would_not_come_back_is_refused_with_its_path(kind: Any, model: Any, message: str) -> None:
    """R-MGR-12."""
    encode, _ = codec_for(kind)
    with pytest.raises(Misused, match=message):
        encode(model)


def test_what_refers_to_its_parts_many_times_over_is_refused_soon() -> None:
    """R-MGR-12."""
    encode, _ = codec_for(Loose, 1000)
    many: list[Any] = [0]
    for _ in range(60):
        many = [many, many]
    with pytest.raises(Misused, match="more than 1000 bytes"):
        encode(Loose(many, {}))
