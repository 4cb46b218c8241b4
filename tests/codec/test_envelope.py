"""A record rests sealed: earlier formats stay readable, damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.codec import Codec, decode
from holdfast.model import Corrupt, Misused
from holdfast.testing.records import record_of

seal, open_ = Codec().seal, Codec().open

GOLDEN = Path(__file__).parent / "golden_v1.bin"
RECORD = record_of("golden", version=7, term=3, max_age=86_400.0, owner="iss|ada", tags=frozenset({"x"}), reason="é")


def test_a_record_of_format_1_is_still_read() -> None:
    """R-STO-6."""
    assert open_(GOLDEN.read_bytes(), "golden") == RECORD
    assert seal(RECORD) == GOLDEN.read_bytes()  # what is neither compressed nor encrypted is still written in it
    assert decode(RECORD.metadata) == {"n": 0}


def test_a_record_comes_back_as_it_was_sealed() -> None:
    """R-STO-6."""
    assert open_(seal(RECORD), "golden") == RECORD


@given(st.integers(0, len(seal(RECORD)) - 1), st.integers(1, 255))
def test_any_changed_byte_is_told(place: int, change: int) -> None:
    """R-STO-2."""
    sealed = bytearray(seal(RECORD))
    sealed[place] ^= change
    with pytest.raises((Corrupt, Misused), match="gold…"):
        open_(bytes(sealed), "golden")


@given(st.integers(0, len(seal(RECORD)) - 1))
def test_a_cut_off_record_is_told(length: int) -> None:
    """R-STO-2."""
    with pytest.raises(Corrupt, match="gold…"):
        open_(seal(RECORD)[:length], "golden")


def test_a_record_under_another_id_is_told() -> None:
    """R-STO-2."""
    with pytest.raises(Corrupt, match="another session"):
        open_(seal(RECORD), "silver")


def test_a_newer_format_is_not_called_damage() -> None:
    """R-STO-6."""
    with pytest.raises(Misused, match=r"format 3.*upgrade"):
        open_(b"HF\x03" + seal(RECORD)[3:], "golden")
