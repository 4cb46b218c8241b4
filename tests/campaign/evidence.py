"""What clients saw before the end of the server, and what was found after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from .plan import How

SURVEYED: Final = " surveyed "
"""In whatever the survey itself has made known."""


class Fate(IntEnum):
    """How far something the client wanted is known to have come."""

    UNSAID = 0
    SAID = 1
    ACKNOWLEDGED = 2


class Seen(NamedTuple):
    """One event as it came: the exact bytes of its data, none in the one that only opens a stream."""

    id: str | None
    data: bytes

    @property
    def message(self) -> Any:
        """The message, or None where there is none."""
        return json.loads(self.data) if self.data else None


class Place(NamedTuple):
    """What an event id says; the format is Holdfast's promise, read here a second time."""

    tag: str
    stream: str
    term: int
    seq: int


def place_of(event_id: str) -> Place:
    """Return where an event stands."""
    tag, stream, term, seq = event_id.split(".")
    return Place(tag, stream, int(term), int(seq))


@dataclass(slots=True)
class Connection:
    """One response that was a stream, with all whole events that came before it ended, or was `cut` off."""

    after: str | None = None
    events: list[Seen] = field(default_factory=list)
    cut: bool = False

    @property
    def last_id(self) -> str | None:
        """What a client sends as Last-Event-ID."""
        return next((event.id for event in reversed(self.events) if event.id is not None), self.after)


def all_seen(connections: Iterable[Connection]) -> Iterator[Seen]:
    """Yield every event that has an id, as often as it came."""
    for connection in connections:
        yield from (event for event in connection.events if event.id is not None)


@dataclass(slots=True)
class Call:
    """One request for a tool or of another method.

    `text` is what the tool will say if that is known, `steps` how often it speaks of its progress before, `file` what
    it writes, `tells` what it makes known besides. `sent` is the state of the world then. `server` is the number of the
    one which surely took it, and answered it or opened its stream; or None. It has `ended` when its client waits no
    longer.
    """

    id: int | str
    tool: str
    text: str | None = None
    steps: int = 0
    file: str | None = None
    tells: str | None = None
    sent: int = 0
    server: int | None = None
    status: int | None = None
    ended: bool = False
    answer: bytes | None = None
    connections: list[Connection] = field(default_factory=list)

    @property
    def is_lost(self) -> bool:
        """Whether nobody can hear of it any more: its connection broke before the client knew its stream."""
        return self.answer is None and not any(connection.events for connection in self.connections)

    @property
    def is_done(self) -> bool:
        """Whether the client has heard that it was done."""
        return self.answer is not None and "result" in json.loads(self.answer)

    @property
    def said(self) -> str | None:
        """What the tool said, if the client has heard it."""
        content = json.loads(self.answer or b"{}").get("result", {}).get("content")
        return content[0]["text"] if content else None


@dataclass(slots=True)
class SessionLog:
    """Everything one session was seen to do. `levels` and `subscriptions` hold what may be true, given the answers.

    `confirmed` is how often the client said that it was initialized.
    """

    token: str
    id: str | None = None
    initialized: Fate = Fate.UNSAID
    confirmed: int = 0
    deleted: Fate = Fate.UNSAID
    levels: set[str | None] = field(default_factory=lambda: {None})
    subscriptions: dict[str, set[bool]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    listens: list[Connection] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """How it is named in a report: its own token and the beginning of its id."""
        return f"{self.token} ({self.id[:4]}…)" if self.id else f"{self.token} (never answered)"

    @property
    def crashed(self) -> bool:
        """Whether its worker was made to end while the server went on."""
        return any(call.tool == "crash" for call in self.calls)


class Taken(NamedTuple):
    """One thing that a worker wrote down before it did it.

    It is its start, "alone" or "beside another", or a call with its id and tool, or the answer to a question.
    """

    pid: int
    start: str | None = None
    call: int | str | None = None
    tool: str | None = None
    reply: str | None = None


@dataclass(slots=True)
class Replay:
    """The answer to one resume after the crash: the status, and the events up to the end of the stream."""

    after: str
    status: int
    events: list[Seen]


@dataclass(slots=True)
class Found:
    """What a session answered after the ends, or what it was refused with.

    `replays` are by stream, the one from its first known event first. `strange` is the status of a resume with the
    event id of another session, `workers` counts the processes that run for it, `taken` is what all its workers wrote
    down, in order. Afterwards its worker is made to crash: `heard_anew` is what the next one was told, `alive_after`
    whether the session was there after so many crashes in all, which were `close` enough together to count.
    """

    statuses: list[int]
    ends: tuple[How, ...] = ()
    refusals: list[str] = field(default_factory=list)
    pids: set[str] = field(default_factory=set)
    heard: list[str] = field(default_factory=list)
    heard_anew: list[str] = field(default_factory=list)
    count: str = ""
    echo: str = ""
    files: dict[str, str | None] = field(default_factory=dict)
    replays: dict[str, list[Replay]] = field(default_factory=dict)
    strange: int | None = None
    has_folder: bool = False
    workers: int = 0
    taken: list[Taken] = field(default_factory=list)
    alive_after: dict[int, bool] = field(default_factory=dict)
    close: bool = True

    @property
    def calls_taken(self) -> dict[int | str, Taken]:
        """What the workers took of calls, the first time each."""
        calls: dict[int | str, Taken] = {}
        for taken in self.taken:
            if taken.call is not None:
                calls.setdefault(taken.call, taken)
        return calls

    @property
    def lives(self) -> list[int]:
        """The pids of the workers that took any call, in order."""
        return list(dict.fromkeys(taken.pid for taken in self.taken if taken.call is not None))

    @property
    def started(self) -> list[int]:
        """The pids of all its workers, in order."""
        return [taken.pid for taken in self.taken if taken.start is not None]

    @property
    def crashed(self) -> set[int]:
        """The pids of the workers that were made to crash."""
        return {taken.pid for taken in self.taken if taken.tool == "crash"}
