"""What one HTTP request of a fuzzed conversation is, and how any bytes become a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

VERBS: Final = ("POST", "POST", "POST", "POST", "GET", "DELETE", "OPTIONS", "HEAD", "PUT", "post", "")
PATHS: Final = ("/mcp", "/mcp", "/mcp", "/mcp", "/", "/healthz", "/mcp/", "//mcp", "/\udcff", "/.well-known/x")
SESSIONS: Final = 3
"""Conversations go on in three sessions, and in one that is not there. The last session is another user's, and old."""

USERS: Final = (b"ann", b"bob", None)
OWNERS: Final = (b"ann", b"ann", b"bob")

HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"content-type", b"application/json; charset=utf-16"),
    (b"content-type", b"text/plain"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept", b"text/event-stream"),
    (b"accept", b"*/*;q=0"),
    (b"accept", b""),
    (b"mcp-protocol-version", b"2025-03-26"),
    (b"mcp-protocol-version", b"2025-11-25"),
    (b"mcp-protocol-version", b"\xff\xfe"),
    (b"origin", b"http://localhost:3000"),
    (b"origin", b"https://evil.example"),
    (b"host", b"evil.example"),
    (b"last-event-id", b"00000000.0.1.1"),
    (b"last-event-id", b"\xff" * 300),
    (b"mcp-session-id", b""),
    (b"mcp-session-id", b"\xc3\x28"),
    (b"mcp-session-id", b"x" * 70_000),
    (b"x-request-id", b"a b\x85"),
    (b"traceparent", b"00-" + b"f" * 32 + b"-" + b"f" * 16 + b"-01"),
    (b"authorization", b"Bearer \xff"),
    (b"expect", b"100-continue"),
    (b"", b""),
)

IDS: Final = ("1", "2", '"1"', "3", "4", "null", "1.0", "true", "{}", "-0", "9007199254740993", '"\\ud800"', '"a\\n"')
METHODS: Final = (
    "tools/call",
    "ask",
    "log",
    "ping",
    "notifications/cancelled",
    "notifications/initialized",
    "initialize",
    "logging/setLevel",
    "resources/subscribe",
    "server/discover",
    "die",
    "odd",
    "notifications/progress",
    "",
)
PARAMS: Final = (
    "{}",
    '{"_meta":{"progressToken":1}}',
    '{"_meta":{"progressToken":"t"}}',
    '{"_meta":{"progressToken":{}}}',
    '{"_meta":"s"}',
    '{"requestId":1}',
    '{"requestId":1,"requestId":2}',
    '{"uri":"a","level":"debug","protocolVersion":"2025-03-26"}',
    '{"uri":{},"level":[],"protocolVersion":7}',
    "[]",
    "null",
    '{"x":' + "[" * 62 + "]" * 62 + "}",
    '{"x":' + "[" * 70 + "]" * 70 + "}",
    '{"x":"\\u0000\\u2028\u2028\\n"}',
    '{"x":1e400}',
    '{"x":"' + "y" * 5000 + '"}',
)
SHAPES: Final = (
    '{"jsonrpc":"2.0","id":%(id)s,"method":"%(method)s","params":%(params)s}',
    '{"jsonrpc":"2.0","id":%(id)s,"method":"%(method)s"}',
    '{"jsonrpc":"2.0","method":"%(method)s","params":%(params)s}',
    '{"jsonrpc":"2.0","id":%(id)s,"result":%(params)s}',
    '{"jsonrpc":"2.0","id":"1.0:%(id)s","result":{}}',
    '{"jsonrpc":"2.0","id":%(id)s,"error":{"code":1,"message":"no"}}',
    '[{"jsonrpc":"2.0","id":%(id)s,"method":"%(method)s"},{"jsonrpc":"2.0","method":"a"}]',
    '[{"jsonrpc":"2.0","id":8,"method":"log"},{"jsonrpc":"2.0","id":%(id)s,"method":"%(method)s","params":%(params)s}]',
    '{ "jsonrpc" : "2.0",\n "id" : %(id)s,\r\n "method" : "%(method)s", "params" : %(params)s }',
    '{"jsonrpc":"2.0","id":%(id)s,"id":7,"method":"%(method)s"}',
    '{"jsonrpc":"2.0","id":7,"ID":%(id)s,"method":"%(method)s"}',
    '{"jsonrpc":"2.0","id":%(id)s,"m\\u0065thod":"ping","method":"%(method)s"}',
    '{"jsonrpc":"2.0","id":%(id)s',
)


@dataclass(frozen=True, slots=True)
class Step:
    """One request. `session` numbers the conversation's sessions; None leaves the header out, one too many is unknown.

    `leave_after` is after how many events of the request the client is gone; None when it stays for its answer.
    `waits` is whether the next request is sent only once this one is answered. `resumes` sends the last event id seen
    in any session. `user` is who sends it, if anybody.
    """

    verb: str = "POST"
    path: str = "/mcp"
    session: int | None = 0
    usual: bool = True
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    cuts: tuple[int, ...] = ()
    leave_after: int | None = None
    waits: bool = True
    resumes: bool = False
    user: bytes | None = b"ann"

    @property
    def chunks(self) -> list[bytes]:
        """The body as it comes."""
        edges = [0, *sorted(cut for cut in self.cuts if cut < len(self.body)), len(self.body)]
        return [self.body[begin:end] for begin, end in pairwise(edges)]


@dataclass(slots=True)
class Choices:
    """Bytes as a source of choices; when they are used up, the first of everything is chosen."""

    data: bytes
    at: int = field(default=0)

    @property
    def left(self) -> bool:
        """Whether there are any."""
        return self.at < len(self.data)

    def number(self, below: int) -> int:
        """Return a number below `below`."""
        if not self.left:
            return 0
        self.at += 1
        return self.data[self.at - 1] % below

    def of(self, options: Any) -> Any:
        """Return one of the options."""
        return options[self.number(len(options))]

    def raw(self, most: int) -> bytes:
        """Return bytes as they stand."""
        size = self.number(min(256, most))
        self.at += size
        return self.data[self.at - size : self.at]


def step_from(choices: Choices) -> Step:
    """Return the next request that the choices make."""
    flags = choices.number(256)
    if not flags & 0b1100_0000:  # a call as it should be, so that the deep parts are reached
        session = choices.number(SESSIONS)
        body = body_from(Choices(b""), choices.of(METHODS))
        return Step(session=session, body=body, waits=not flags & 1, user=OWNERS[session])
    return Step(
        verb=choices.of(VERBS),
        path=choices.of(PATHS),
        session=None if flags & 2 else choices.number(SESSIONS + 1),
        usual=not flags & 4,
        headers=tuple(choices.of(HEADERS) for _ in range(choices.number(4))) if flags & 8 else (),
        body=choices.raw(200) if flags & 16 else body_from(choices, choices.of(METHODS)),
        cuts=tuple(choices.number(256) for _ in range(choices.number(4))),
        leave_after=choices.number(4) if flags & 32 else None,
        waits=not flags & 1,
        resumes=bool(flags & 128),
        user=choices.of(USERS),
    )


def body_from(choices: Choices, method: str) -> bytes:
    """Return a body of one of the shapes, mostly a message."""
    parts = {"id": choices.of(IDS), "method": method, "params": choices.of(PARAMS)}
    shape: str = choices.of(SHAPES)
    return (shape % parts).encode()


def conversation_from(data: bytes) -> list[Step]:
    """Return the conversation that the bytes make: at most twenty requests."""
    choices = Choices(data)
    steps: list[Step] = []
    while choices.left and len(steps) < 20:
        steps.append(step_from(choices))
    return steps


def initialize(number: int) -> bytes:
    """Return the request that opens a session."""
    protocol = "2025-11-25" if number < SESSIONS - 1 else "2025-03-26"
    params = {"protocolVersion": protocol, "capabilities": {}, "clientInfo": {"name": str(number), "version": "1"}}
    return json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).encode()
