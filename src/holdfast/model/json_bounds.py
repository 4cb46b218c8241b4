"""How deep a client's JSON may nest, and how long its numbers may be: MCP servers fail on more, many without a word.

A look at the brackets inside 10 MiB takes long, so it is taken in steps. Source: RFC 8259, section 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from .errors import Misused

DEPTH_MAX: Final = 64
DIGITS_MAX: Final = 1000
STEP_BYTES: Final = 32 * 2**10

_ARRAY: Final = ord("[")
_OBJECT: Final = ord("{")
_SHORT_BYTES: Final = 1024  # below it, counting is faster than hopping from one to the next
_FLAT_BYTES: Final = 5 * DEPTH_MAX  # an object in another takes at least five bytes more: "":{}
_STRIDE: Final = DIGITS_MAX // 10
_DIGITS_AS_ZERO: Final = bytes(ord("0") if chr(byte).isdecimal() else byte for byte in range(256))
_SAMPLED_RUN: Final = b"0" * 10
_LONG_NUMBER: Final = re.compile(rb"(?<![0-9])[0-9]{%d}" % (DIGITS_MAX + 1))
_LAST_DIGITS: Final = re.compile(rb"(?<![0-9])[0-9]+\Z")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def check_bounds(body: bytes) -> None:
    """Check in one go that JSON nests no deeper than `DEPTH_MAX` and has no number of more than `DIGITS_MAX` digits.

    What is not JSON may pass, or be refused for the wrong reason.

    Raises:
        Misused: It nests deeper, or has a longer number.
    """
    if len(body) <= _FLAT_BYTES and _ARRAY not in body:
        return
    if _may_be_deep(body) or (len(body) > DIGITS_MAX and _may_hold_a_long_number(body)):
        for _ in steps_of_check(body):
            pass


def steps_of_check(body: bytes) -> Iterator[None]:
    """Check the same, and yield after every 32 KiB looked at: nothing where few brackets show that all is well."""
    if not (_may_be_deep(body) or _may_hold_a_long_number(body)):
        return
    depth, in_string, begin, last_digits = 0, 0, 0, b""
    while begin < len(body):
        end = _end_of_step(body, begin)
        outside, in_string = _outside_strings(body[begin:end], in_string)
        depth = _depth_behind(outside, depth)
        last_digits = _last_digits(last_digits + outside)
        begin = end
        yield


def _may_be_deep(body: bytes) -> bool:
    """Return whether it has more opening brackets than it may have levels. A number is found faster than bytes are."""
    if len(body) < _SHORT_BYTES:
        return body.count(b"[") + body.count(b"{") > DEPTH_MAX
    found = 0
    for bracket in (_ARRAY, _OBJECT):
        at = body.find(bracket)
        while at >= 0:
            found += 1
            if found > DEPTH_MAX:
                return True
            at = body.find(bracket, at + 1)
    return False


def _may_hold_a_long_number(body: bytes) -> bool:
    """Look at every hundredth byte: of a run of more than a thousand digits it meets ten one after the other."""
    return _SAMPLED_RUN in body[::_STRIDE].translate(_DIGITS_AS_ZERO)


def _end_of_step(body: bytes, begin: int) -> int:
    """Return where the step that begins at `begin` ends: not within an escape."""
    end = begin + STEP_BYTES
    step = body[begin:end]
    backslashes = len(step) - len(step.rstrip(b"\\"))
    return end + backslashes % 2


def _outside_strings(text: bytes, in_string: int) -> tuple[bytes, int]:
    """Return what of `text` stands outside strings, and 1 if it ends inside one, else 0.

    Once every escaped backslash and quote is gone, the quotes that are left begin and end strings in turn.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = text.split(b'"')
    return b'""'.join(parts[in_string::2]), (in_string + len(parts) - 1) % 2


def _depth_behind(outside: bytes, depth: int) -> int:
    """Return how deep the text behind `outside` is nested, which begins `depth` deep.

    Raises:
        Misused: It is nested too deep on the way.
    """
    brackets = outside.translate(None, _NOT_BRACKETS)
    depths = list(accumulate(memoryview(brackets.translate(_STEPS)).cast("b"), initial=depth))
    if max(depths) > DEPTH_MAX:
        raise Misused(f"JSON nested more than {DEPTH_MAX} levels deep; send flatter arguments")
    return depths[-1]


def _last_digits(outside: bytes) -> bytes:
    """Return the digits that `outside` ends with, which may go on in the next step.

    Raises:
        Misused: It holds a number of too many digits.
    """
    if _LONG_NUMBER.search(outside):
        raise Misused(f"a number of more than {DIGITS_MAX} digits; send it as a string")
    last = _LAST_DIGITS.search(outside)
    return last[0] if last else b""
