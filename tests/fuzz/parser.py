"""The judge of the parser: a body is refused, or means the same to every reader."""

from __future__ import annotations

import json
from typing import Any

from holdfast.model import Misused
from holdfast.model.json_bounds import DEPTH_MAX
from holdfast.model.jsonrpc import MEMBERS, Message, one_line, parse, parse_frame, with_id


def judge_parser(body: bytes) -> bool:
    """Parse a body and check all that must hold of it; return whether it was let through.

    Raises:
        AssertionError: Something does not hold.
    """
    try:
        message = parse(body)
    except Misused as error:
        assert len(str(error)) < 500, "a refusal quotes at length"
        _judge_frame(body)
        return False
    read = _read_once(body)
    assert read["jsonrpc"] == "2.0"
    assert (message.id, message.method) == (read.get("id"), read.get("method"))
    assert message.is_answer == (read.get("method") is None)
    assert message.is_request == ("method" in read and "id" in read and read["method"] is not None)
    assert _depth(read) <= DEPTH_MAX
    assert parse_frame(body).id == message.id
    _judge_line(body, read)
    return True


def _judge_frame(body: bytes) -> None:
    try:
        message = parse_frame(body)
    except Misused:
        return
    assert isinstance(message, Message)


def _judge_line(body: bytes, read: Any) -> None:
    line = one_line(body)
    assert not set(line.decode()) & set("\n\r\u2028\u2029")
    assert json.loads(line) == read
    assert json.loads(with_id(body, "other")) == read | {"id": "other"}


def _read_once(body: bytes) -> Any:
    """Read a message as others do, and check that its own members, not those of objects in it, are there once."""
    objects: list[list[tuple[str, Any]]] = []

    def made_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        objects.append(pairs)
        return dict(pairs)

    read = json.loads(body, object_pairs_hook=made_of)
    names = [name.casefold() for name, _ in objects[-1] if name.casefold() in MEMBERS]  # the outermost is made last
    assert len(names) == len(set(names))
    return read


def _depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0
