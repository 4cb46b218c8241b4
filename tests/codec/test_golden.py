"""What was once written is read for ever: one sealed record, and one sealed message, of each form of version 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.codec import Codec
from holdfast.model import Record

from .sealing import NEW, OLD
from .test_codec import DATA, RECORD
from .test_envelope import RECORD as SMALL

HERE = Path(__file__).parent / "golden_v2"
DICTIONARY = (HERE / "dictionary.bin").read_bytes()


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("compressed", RECORD),
        ("encrypted", RECORD),
        ("both", RECORD),
        ("dictionary", SMALL),
        ("dictionary-encrypted", SMALL),
    ],
)
def test_a_record_of_format_2_is_still_read(name: str, record: Record) -> None:
    """R-STO-6: sealed under an older key than the current one."""
    codec = Codec(keys=NEW).of_store({1: DICTIONARY}.get)
    assert codec.open((HERE / f"{name}.record").read_bytes(), "golden") == record


@pytest.mark.parametrize("name", ["plain", "compressed", "encrypted", "both"])
def test_bytes_of_format_2_are_still_read(name: str) -> None:
    """R-STO-6."""
    assert Codec(keys=OLD).open_bytes((HERE / f"{name}.bytes").read_bytes(), b"golden context") == DATA
