"""JSON-RPC as far as routing needs it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.model import Misused
from holdfast.model.json_bounds import DEPTH_MAX, DIGITS_MAX, STEP_BYTES, check_bounds, steps_of_check
from holdfast.model.jsonrpc import (
    ID_MAX,
    Message,
    NotJson,
    error_answer,
    id_from_json,
    id_json,
    one_line,
    parse,
    parse_bounded,
    parse_frame,
    raw_member,
    with_id,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
MEMBERS = ("jsonrpc", "id", "method", "params", "result", "error")


def with_params(text: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"a","params":%s}' % text.encode("utf-8", "surrogatepass")


def short(value: object) -> str:
    """Name a case by its beginning: the name of the running test is in the environment of all it starts."""
    return repr(value)[:60]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n\t ",
        b"nonsense",
        b"{",
        b"\xef\xbb\xbf" + with_params("{}"),
        with_params("{}").decode().encode("utf-16"),
        with_params("{}").decode().encode("utf-32"),
        with_params("{}") + b"x",
        with_params("{}") + with_params("{}"),
        with_params("{}") + b"\0",
        with_params('{"x":1,}'),
        with_params("{/**/}"),
        with_params('{"x":NaN}'),
        with_params('{"x":Infinity}'),
        with_params('{"x":01}'),
        with_params('{"x":1.}'),
        with_params('{"x":"\0"}'),
        with_params('{"x":"a\nb"}'),
        with_params('{"x":"a\rb"}'),
        with_params('{"x\n":1}'),
        with_params('{"x":"\\q"}'),
        with_params('{"x":"\\ud800"}'),
        with_params('{"x":"\\udc00"}'),
        with_params('{"x":"\\ud800\\u0041"}'),
        with_params('{"x":"\ud800"}'),
        b'{"jsonrpc":"2.0","id":"\\ud800","method":"a"}',
        b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a\nb"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\xff"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\xc0\xaf"}}',
    ],
)
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    """R-SEC-3. Source: RFC 8259, sections 2, 7 and 8.1."""
    for read in (parse, parse_frame):
        with pytest.raises(NotJson):
            read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"1",
        b'"2.0"',
        b"null",
        b'{"jsonrpc":"1.0","id":1,"method":"a"}',
        b'{"jsonrpc":2.0,"id":1,"method":"a"}',
        b'{"id":1,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1.0,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1e2,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1e400,"method":"a"}',
        b'{"jsonrpc":"2.0","id":true,"method":"a"}',
        b'{"jsonrpc":"2.0","id":{},"method":"a"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"a"}',
        b'{"jsonrpc":"2.0","id":1,"method":1}',
        b'{"jsonrpc":"2.0","id":1,"method":{}}',
        *(with_params(text) for text in ("[]", "[1]", '"s"', "1", "true")),
        *(with_params(f'{{"_meta":{text}}}') for text in ("[]", '"s"', "1")),
        *(with_params(f'{{"_meta":{{"progressToken":{text}}}}}') for text in ("{}", "[]", "1.0", "1.5", "true")),
    ],
)
def test_what_is_no_message_is_told_so(body: bytes) -> None:
    """R-SEC-3. Source: JSON-RPC 2.0, sections 4 and 5; MCP 2025-11-25, "Base protocol"."""
    for read in (parse, parse_frame):
        with pytest.raises(Misused) as refused:
            read(body)
        assert not isinstance(refused.value, NotJson)


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":null,"method":"a"}',
        b'{"jsonrpc":"2.0","id":9007199254740992,"method":"a"}',
        b'{"jsonrpc":"2.0","id":-9007199254740992,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1' + b"0" * 900 + b',"method":"a"}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","error":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        with_params('{"x":1%s}' % ("0" * DIGITS_MAX)),
        with_params('{"x":-0.%s}' % ("1" * (DIGITS_MAX + 1))),
        with_params("[" * 100_000 + "]" * 100_000),
    ],
    ids=short,
)
def test_a_client_is_held_to_more_than_a_server(body: bytes) -> None:
    """What a server says has a client that waits for it."""
    with pytest.raises(Misused):
        parse(body)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("spell", [str, lambda name: f"\\u{ord(name[0]):04x}{name[1:]}", str.upper, str.title])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_member_that_can_be_read_in_two_ways_is_refused(
    name: str, spell: Callable[[str], str], separators: tuple[str, str]
) -> None:
    """R-SEC-3: the server would answer another id than the one waited for, or do another thing than was checked."""
    values = {"jsonrpc": '"2.0"', "id": "7", "method": '"b"', "params": "{}", "result": "{}", "error": "{}"}
    answer = name in ("result", "error")
    once = {"jsonrpc": '"2.0"', "id": "1"} | ({name: "{}"} if answer else {"method": '"a"', "params": "{}"})
    comma, colon = separators
    for twice in ([*once.items(), (spell(name), values[name])], [(spell(name), values[name]), *once.items()]):
        body = "{" + comma.join(f'"{key}"{colon}{value}' for key, value in twice) + "}"
        with pytest.raises(Misused):
            parse(body.encode())
    plain = "{" + comma.join(f'"{key}"{colon}{value}' for key, value in once.items()) + "}"
    assert parse(plain.encode()).id == 1


@pytest.mark.parametrize("name", ["param\u017f", "re\u017fult", "j\u017fonrpc"])
def test_a_name_that_only_folds_to_a_member_is_refused(name: str) -> None:
    """Readers that ignore case fold the long s, too."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "a", name: {}}, ensure_ascii=False)
    with pytest.raises(Misused):
        parse(body.encode())


def test_a_request_that_is_cancelled_is_named_once() -> None:
    body = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"requestId":2}}'
    with pytest.raises(Misused):
        parse(body)


@pytest.mark.parametrize(
    ("body", "id", "method"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"tools\\/call"}', 1, "tools/call"),
        (b'\r\n{ "method" : "a" ,\n"id":"\\u0031", "jsonrpc":"2.0" }\n', "1", "a"),
        (b'{"jsonrpc":"2.0","id":-0,"method":""}', 0, ""),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":null}', 1, "a"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","extra":{"id":2},"Method_":0}', 1, "a"),
        (with_params('{"id":2,"id":3,"method":"b","arguments":{"id":4}}'), 1, "a"),
        (with_params('{"x":[1e400,-1e999999,%s]}' % ("9" * DIGITS_MAX)), 1, "a"),
        (with_params('{"x":"%s"}' % ("9" * 5000)), 1, "a"),
        (with_params('{"_meta":{"progressToken":null}}'), 1, "a"),
        (b'{"jsonrpc":"2.0","id":%d,"method":"a"}' % ID_MAX, ID_MAX, "a"),
        (b'{"jsonrpc":"2.0","id":%d,"method":"a"}' % -ID_MAX, -ID_MAX, "a"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}', None, None),
        (b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}', None, None),
    ],
    ids=short,
)
def test_what_is_merely_unusual_is_let_through(body: bytes, id: int | str | None, method: str | None) -> None:
    message = parse(body)
    assert (message.id, message.method) == (id, method)
    assert type(message.id) is type(id)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}',
        b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"ID":2,"result":{}}',
        b'{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 200 + b"]" * 200 + b"}",
    ],
    ids=short,
)
def test_what_a_server_says_oddly_still_reaches_its_client(frame: bytes) -> None:
    parse_frame(frame)
    with pytest.raises(Misused):
        parse(frame)


def depth_of(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


@given(
    json_values, st.integers(DEPTH_MAX - 4, DEPTH_MAX + 1), st.sampled_from(["[%s]", '{"[":%s}', '["]]\\"{",%s,{}]'])
)
def test_depth_is_bounded_to_the_level(value: object, wraps: int, wrap: str) -> None:
    """R-SEC-3."""
    text = json.dumps(value)
    for _ in range(wraps):
        text = wrap % text
    if depth_of(json.loads(text)) <= DEPTH_MAX:
        check_bounds(text.encode())
    else:
        with pytest.raises(Misused):
            check_bounds(text.encode())


@pytest.mark.parametrize("levels", [DEPTH_MAX, DEPTH_MAX + 1])
@pytest.mark.parametrize(
    "padding", ['"%s"' % ("]" * 99_999), '"%s"' % ('\\"' * 99_999), "[{}]" + ",[{}]" * 33_333], ids=short
)
def test_what_stands_before_does_not_hide_the_depth(padding: str, levels: int) -> None:
    for shift in range(3):  # so that steps begin at every place of an escape
        deep = "[" * (levels - 1) + "]" * (levels - 1)
        body = f'[{padding},"{"x" * shift}",{padding},{deep}]'.encode()
        if levels <= DEPTH_MAX:
            check_bounds(body)
        else:
            with pytest.raises(Misused):
                check_bounds(body)


@pytest.mark.parametrize("digits", [DIGITS_MAX, DIGITS_MAX + 1])
def test_a_number_is_bounded_wherever_it_stands(digits: int) -> None:
    """Readers with a bound of their own give a message up without a word, so that nobody would answer it."""
    for before in (0, 57, STEP_BYTES - digits // 2, STEP_BYTES - 1):
        body = f'["{"1" * before}",{"9" * digits}]'.encode()
        if digits <= DIGITS_MAX:
            check_bounds(body)
        else:
            with pytest.raises(Misused):
                check_bounds(body)


@pytest.mark.parametrize(
    "body",
    [b"[" + b"[]," * 3_000_000 + b"1]", b"[" + b'"",' * 3_000_000 + b"{}," * 65 + b"1]", b'"' * 9_000_000 + b"[" * 65],
    ids=short,
)
def test_hostile_bodies_are_looked_at_in_short_steps(body: bytes) -> None:
    """The event loop gets a turn after each step."""
    steps = 0
    try:
        for _ in steps_of_check(body):
            steps += 1
    except Misused:
        steps += 1
    assert steps >= len(body) // STEP_BYTES


def test_a_number_and_its_digits_are_two_ids() -> None:
    assert [id_from_json(id_json(one)) for one in (1, "1")] == [1, "1"]
    assert id_json(1) != id_json("1")


@given(json_values, st.sampled_from([None, 1, 4]), st.booleans())
@example("\u2028\u2029\n", None, False)
def test_a_message_on_one_line_says_the_same(value: object, indent: int | None, ascii_only: bool) -> None:
    """Also where a reader of lines takes U+2028 and U+2029 for the end of one, as that of Node.js does."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "m", "x": value}
    body = json.dumps(message, indent=indent, ensure_ascii=ascii_only).encode()
    line = one_line(body)
    assert not set(line.decode()) & set("\n\r\u2028\u2029")
    assert json.loads(line) == json.loads(body)


@given(json_values)
def test_another_id_changes_nothing_else(value: object) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": value}).encode()
    assert json.loads(with_id(frame, "new")) == json.loads(frame) | {"id": "new"}


def members_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    routing = [name.casefold() for name, _ in pairs if name.casefold() in MEMBERS]
    assert len(routing) == len(set(routing))
    return dict(pairs)


spelled = st.sampled_from([*MEMBERS, "ID", "\\u0069d", "i\\u0064", "Method", "x", "_meta", "\u017f"])
values = st.sampled_from(
    ['"2.0"', "1", '"1"', "null", "{}", "[]", '"a"', "1.0", '{"requestId":1}', "true", "-0", '"\\n"']
)
spaces = st.sampled_from(["", " ", "\n", "\r\n\t"])


@settings(max_examples=500)
@given(st.lists(st.tuples(spelled, values, spaces, spaces), max_size=6))
@example([("jsonrpc", '"2.0"', "", ""), ("id", "1", "", ""), ("method", '"a"', "", ""), ("id", "2", "", "")])
def test_what_is_let_through_has_one_meaning(parts: list[tuple[str, str, str, str]]) -> None:
    """R-SEC-3: a body is refused, or every reader finds the members that were found here."""
    body = "{" + ",".join(f'{a}"{name}"{b}:{value}' for name, value, a, b in parts) + "}"
    try:
        message = parse(body.encode())
    except Misused:
        return
    read = json.loads(body, object_pairs_hook=members_of)
    assert read["jsonrpc"] == "2.0"
    assert (message.id, message.method) == (read.get("id"), read.get("method"))
    assert [message.is_request, message.is_answer] == ["method" in read and "id" in read, read.get("method") is None]
    assert sum(name in read and read[name] is not None for name in ("method", "result", "error")) <= 1


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0123idmethoprcs.\n ', max_size=200).map(str.encode))
def test_any_bytes_are_a_message_or_misused(body: bytes) -> None:
    """R-SEC-3."""
    for read in (parse, parse_frame):
        try:
            message = read(body)
        except Misused as error:
            assert len(str(error)) < 500
        else:
            assert isinstance(message, Message)
            assert b"\n" not in one_line(body)


def test_a_refusal_does_not_quote_at_length() -> None:
    body = json.dumps({"jsonrpc": "x" * 10_000, "id": 1, "method": "a"}).encode()
    with pytest.raises(Misused) as refused:
        parse(body)
    assert len(str(refused.value)) < 500


def test_a_body_that_was_checked_in_steps_is_read_the_same() -> None:
    body = with_params('{"_meta":{"progressToken":"t"}}')
    message = parse_bounded(body)
    assert message == parse(body)
    assert message.params is not None and message.params.meta is not None
    assert message.params.meta.progress_token == "t"


def test_a_member_that_is_not_there_is_null() -> None:
    assert raw_member(b'{"a": {"b": [1, 2]}}', "a", "b") == b"[1, 2]"
    assert raw_member(b"{}", "a") == b"null"


def test_an_error_without_an_id_says_so() -> None:
    assert json.loads(error_answer(None, -32700, "bad"))["id"] is None


def test_ids_are_bounded() -> None:
    """They are kept with every stream."""
    assert parse(b'{"jsonrpc":"2.0","id":"%s","method":"ping"}' % (b"x" * 1000)).id == "x" * 1000
    with pytest.raises(Misused, match="1000 at most"):
        parse(b'{"jsonrpc":"2.0","id":"%s","method":"ping"}' % (b"x" * 1001))
    with pytest.raises(Misused, match="progressToken of 1001"):
        parse(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":"%s"}}}' % (b"x" * 1001))
