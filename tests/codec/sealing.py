"""Codecs of every kind, for tests of what they seal."""

from __future__ import annotations

from typing import Final

from holdfast.codec import Codec, KeyRing
from holdfast.codec.compress import train
from holdfast.testing.records import record_of

OLD: Final = KeyRing({"2026": bytes(range(32))})
NEW: Final = KeyRing({"2027": bytes(range(32, 64)), **OLD.keys})
SAMPLES: Final = [
    Codec().sample(Codec().seal(record_of(f"{n:032x}", owner=f"issuer|{n}")), f"{n:032x}") for n in range(1000)
]


def learnt(codec: Codec, dictionary: bytes) -> Codec:
    """Return the codec of a store that has one dictionary, with which it compresses."""
    bound = codec.of_store({1: dictionary}.get)
    bound.learn(1, dictionary)
    return bound


def every_codec() -> dict[str, Codec]:
    """Return codecs with all options, by name."""
    dictionary = train(SAMPLES)
    assert dictionary is not None
    both = Codec(keys=NEW, compress=True)
    return {
        "plain": Codec(),
        "compressed": Codec(compress=True),
        "encrypted": Codec(keys=NEW),
        "both": both,
        "compressed with a dictionary": learnt(Codec(compress=True), dictionary),
        "both with a dictionary": learnt(both, dictionary),
    }
