"""The parser under bytes that nobody would send."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .parser import judge_parser
from .steps import Choices, body_from

CORPUS = Path(__file__).parent / "corpus" / "parser"

PIECES = (
    *'{}[],:"\\\n \0\u2028\ud800',
    *('\\"', "\\u0069", '"id"', '"ID"', '"jsonrpc":"2.0"', '"method"', '"params"', '"result"', '"error"', '"_meta"'),
    *('"requestId"', "1", "-0", "1.0", "1e400", "null", '"a"'),
)
pieces = st.lists(st.sampled_from(PIECES), max_size=40).map(
    lambda parts: "".join(parts).encode("utf-8", "surrogatepass")
)


@settings(max_examples=500)
@given(pieces | st.binary(max_size=100))
def test_pieces_of_json_are_judged(body: bytes) -> None:
    """R-SEC-3."""
    judge_parser(body)


@settings(max_examples=500)
@given(st.binary(min_size=3, max_size=3), st.sampled_from(["a", "tools/call", "notifications/cancelled"]))
def test_messages_of_every_shape_are_judged(data: bytes, method: str) -> None:
    judge_parser(body_from(Choices(data), method))


@pytest.mark.parametrize("found", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(found: Path) -> None:
    let_through = judge_parser(found.read_bytes())
    assert let_through == (not found.name.startswith("id-"))
