"""Cutting bytes into messages and lines, wherever the chunks end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_keeper import wire
from holdfast_keeper.lines import Lines

numbers = st.integers(0, 2**64 - 1)
messages = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=60), numbers), max_size=12
)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut `data` into pieces of these sizes, again and again."""
    found, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return found


@given(messages, cuts)
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    sent: list[tuple[int, int, bytes, int]], sizes: list[int]
) -> None:
    stream = b"".join(wire.message(*one) for one in sent)
    splitter = wire.Splitter()
    assert [found for chunk in chunks(stream, sizes) for found in splitter.feed(chunk)] == sent


@pytest.mark.parametrize("whole", [True, False])
def test_a_message_larger_than_any_may_be_is_refused_before_it_is_collected(whole: bool) -> None:
    header = wire.HEADER.pack(wire.PAYLOAD_BYTES_MAX + 1, wire.FRAME, 1, 0)
    splitter = wire.Splitter()
    if not whole:
        assert splitter.feed(header[:5]) == []
    with pytest.raises(wire.WireError):
        splitter.feed(header if whole else header[5:])


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=12), st.booleans(), cuts)
def test_lines_come_out_whole_and_without_blank_ones_however_they_are_cut(
    written: list[bytes], ended: bool, sizes: list[int]
) -> None:
    stream = b"\n".join(written) + (b"\n" if ended and written else b"")
    lines = Lines(100)
    found = [line for chunk in chunks(stream, sizes) for line in lines.feed(chunk)] + lines.end()
    assert found == [line for line in written if line.strip()]
    assert not lines.too_long


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(1, 20), st.integers(0, 20), cuts)
def test_a_line_over_the_bound_is_never_returned_and_nothing_after_it(
    before: list[int], over: int, after: int, sizes: list[int]
) -> None:
    stream = b"".join(b"x" * size + b"\n" for size in before) + b"y" * (20 + over) + b"\n" + b"z" * after + b"\n"
    lines = Lines(20)
    found = [line for chunk in chunks(stream, sizes) for line in lines.feed(chunk)] + lines.end()
    assert lines.too_long
    assert found == [b"x" * size for size in before]
