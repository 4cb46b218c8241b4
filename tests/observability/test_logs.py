"""What a line of the log looks like, and what can never be in one."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.observability import begin_request, end_request
from holdfast.observability.logs import JsonLines, TextLines

HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING holdfast\.there: ")


@dataclass
class Asked:
    request_id: str
    session_id: str | None


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    about = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("holdfast.there", logging.WARNING, __file__, 1, message, args, about)


def as_json(entry: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(entry)
    assert "\n" not in line
    assert line.isascii()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_line_says_when_how_bad_where_and_what() -> None:
    """R-OPS-4."""
    line = TextLines().format(record("the %s is full", "store"))
    assert HEAD.match(line)
    assert line.endswith("the store is full")
    told = as_json(record("the %s is full", "store"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {"level": "warning", "logger": "holdfast.there", "message": "the store is full"}


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_nothing_that_is_logged_looks_like_another_line_or_moves_a_cursor(said: str) -> None:
    """R-SEC-3: log injection."""
    line = TextLines().format(record("it said %s", said))
    assert len(line.splitlines()) == 1
    assert all(character.isprintable() or character.isspace() for character in line if ord(character) < 0xA0)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202e]", line)
    whole = said.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves are a character
    assert as_json(record("it said %s", said))["message"] == f"it said {whole}"


def test_a_traceback_cannot_be_taken_for_a_line() -> None:
    error = ValueError("bad\n2026-01-01T00:00:00.000Z ERROR holdfast.there: all is lost")
    first, *rest = TextLines().format(record("a request failed", error=error)).split("\n")
    assert HEAD.match(first)
    assert rest == ["  | ValueError: bad", "  | 2026-01-01T00:00:00.000Z ERROR holdfast.there: all is lost"]
    assert as_json(record("a request failed", error=error))["error"].startswith("ValueError: bad\n")


async def test_what_a_request_logs_names_it_and_its_session_in_part() -> None:
    """R-SEC-2, R-OPS-4."""
    handling = begin_request(Asked("r1", "0123456789abcdef"))
    try:
        line = TextLines().format(record("done"))
        told = as_json(record("done"))
    finally:
        end_request(handling)
    assert line.endswith("done [request=r1 session=0123…]")
    assert (told["request"], told["session"]) == ("r1", "0123…")
    assert TextLines().format(record("done")).endswith("done")


async def test_what_a_task_that_a_request_started_logs_is_not_the_requests() -> None:
    """Such a task lives longer, and serves others."""

    async def later() -> str:
        return TextLines().format(record("later"))

    handling = begin_request(Asked("r1", None))
    try:
        line = await asyncio.ensure_future(later())
    finally:
        end_request(handling)
    assert line.endswith("later")


async def test_requests_that_are_handled_at_once_are_told_apart() -> None:
    async def handle(name: str) -> str:
        handling = begin_request(Asked(name, None))
        try:
            await asyncio.sleep(0)
            return TextLines().format(record("done"))
        finally:
            end_request(handling)

    lines = await asyncio.gather(*(handle(str(number)) for number in range(3)))
    assert [line.rpartition("request=")[2] for line in lines] == ["0]", "1]", "2]"]


async def test_a_thread_may_log_too() -> None:
    handling = begin_request(Asked("r1", None))
    try:
        line = await asyncio.to_thread(TextLines().format, record("from a thread"))
    finally:
        end_request(handling)
    assert line.endswith("from a thread")
