"""The log: one line for each record, as text or JSON, with the request and the session it is about where known.

What clients and workers sent may be part of a message, so nothing in a record can look like another record or reach a
terminal as a control sequence. Session ids are redacted by whoever logs, and here for the request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeAlias

from ..model import redacted
from .stderr import StderrHandler

# Control characters, line and paragraph separators, what reverses the direction of text, and halves of characters.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how. `format` is "text" or "json"; `level` the least that is logged, as logging names it."""

    format: str = "text"
    level: str = "info"


class Handled(Protocol):
    """A request as far as its log lines tell of it; asked only when something is logged."""

    @property
    def request_id(self) -> str:
        """What tells it from other requests."""
        ...

    @property
    def session_id(self) -> str | None:
        """The whole id of its session, None while there is none."""
        ...


Handling: TypeAlias = asyncio.Task[Any] | None

# By task and not by context: tasks that a request starts inherit its context, live longer, and serve other requests.
_handled: Final[dict[Handling, Handled]] = {}


def begin_request(request: Handled) -> Handling:
    """Let what the current task logs tell of `request`, until `end_request` of what this returns.

    What is logged by tasks that it starts does not.
    """
    handling = asyncio.current_task()
    _handled[handling] = request
    return handling


def end_request(handling: Handling) -> None:
    """End what `begin_request` began."""
    del _handled[handling]


def log_to_stderr(settings: LogSettings) -> None:
    """Send what this process logs to stderr; nothing happens when logging was set up before.

    Other libraries are heard from "warning" on.
    """
    if sys.stderr is None:  # closed by whoever started us; its number may be something else by now
        return
    handler = StderrHandler(sys.stderr.fileno(), sys.stderr.encoding)
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))
    logging.getLogger("holdfast").setLevel(level)


class TextLines(logging.Formatter):
    """`TIME LEVEL LOGGER: MESSAGE [request=… session=…]`; a traceback follows on lines that begin with `  | `."""

    def format(self, record: logging.LogRecord) -> str:
        about = " ".join(f"{name}={value}" for name, value in _about().items())
        message = f"{record.getMessage()} [{about}]" if about else record.getMessage()
        lines = [_shown(f"{_time(record)} {record.levelname} {record.name}: {message}")]
        if record.exc_info:
            lines += [f"  | {_shown(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """A JSON object in ASCII: `time`, `level`, `logger`, `message`; where known `request`, `session`, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_about(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line).replace("\x7f", "\\u007f")


def _about() -> dict[str, str]:
    try:
        request = _handled.get(asyncio.current_task())
    except RuntimeError:  # a thread without a loop
        request = None
    if request is None:
        return {}
    about = {"request": request.request_id}
    if request.session_id is not None:
        about["session"] = redacted(request.session_id)
    return about


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return at.removesuffix("+00:00") + "Z"


def _shown(text: str) -> str:
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
