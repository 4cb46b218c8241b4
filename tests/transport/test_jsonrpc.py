"""JSON-RPC as far as routing needs it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import Misused
from holdfast.model.jsonrpc import error_answer, id_from_json, id_json, one_line, parse, raw_member, with_id

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"jsonrpc":"1.0","id":1,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"a"}',
        b'{"jsonrpc":"2.0","id":true,"method":"a"}',
        b'{"jsonrpc":"2.0","id":9007199254740992,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\xff"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_one_message_is_refused(body: bytes) -> None:
    """R-SEC-3."""
    with pytest.raises(Misused):
        parse(body)


def test_a_number_and_its_digits_are_two_ids() -> None:
    assert [id_from_json(id_json(one)) for one in (1, "1")] == [1, "1"]
    assert id_json(1) != id_json("1")


@given(json_values, st.sampled_from([None, 1, 4]))
def test_a_message_on_one_line_says_the_same(value: object, indent: int | None) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "x": value}, indent=indent).encode()
    line = one_line(body)
    assert b"\n" not in line and b"\r" not in line
    assert json.loads(line) == json.loads(body)


@given(json_values)
def test_another_id_changes_nothing_else(value: object) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": value}).encode()
    assert json.loads(with_id(frame, "new")) == json.loads(frame) | {"id": "new"}


def test_a_member_that_is_not_there_is_null() -> None:
    assert raw_member(b'{"a": {"b": [1, 2]}}', "a", "b") == b"[1, 2]"
    assert raw_member(b"{}", "a") == b"null"


def test_an_error_without_an_id_says_so() -> None:
    assert json.loads(error_answer(None, -32700, "bad"))["id"] is None
