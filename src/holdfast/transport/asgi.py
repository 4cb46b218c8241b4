"""ASGI as far as the edge needs it: one request read, one answer or one stream sent.

Source: ASGI 3.0, "HTTP connection scope".
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from ..model import HoldfastError, Refused, Unavailable
from ..model.jsonrpc import INTERNAL_ERROR, RequestId, error_answer
from .attendance import Attendance
from .problems import Headers, Problem, as_answer
from .sse import RETRY, unnumbered
from .streams import Outlet

_log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Push: TypeAlias = Callable[[bytes], Awaitable[None]]

JSON: Final = (b"content-type", b"application/json")
STREAM_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

WATCH_AFTER_S: Final = 1.0

_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-.*")


class UnderWay:
    """Counts the bytes of the bodies that come in pieces and are not whole yet, of all requests together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count more bytes, or fewer.

        Raises:
            Refused: They are more than `bytes_max` now; they are counted until they are taken back.
        """
        self._bytes += size_bytes
        if size_bytes > 0 and self._bytes > self._bytes_max:
            raise Refused("too many large messages are under way to this server; try again", wait_s=1.0)


class Exchange:
    """One HTTP request and the answer to it.

    `lines` are its headers as they came, `headers` the last value of each name. `message_id` is the JSON-RPC id of what
    was asked, and `session_id` the whole id of its session, as soon as they are known. `owner` is the principal it came
    from, None where nobody needs to authenticate, and `identify_again` tells whose it is now. `more` are headers of
    whatever is answered; `status` is 0 until then.
    """

    __slots__ = (
        "_request_id",
        "headers",
        "identify_again",
        "lines",
        "message_id",
        "method",
        "more",
        "owner",
        "path",
        "receive",
        "send",
        "session_id",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.lines: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.lines)
        self.receive = receive
        self.send = send
        self.more: Headers = []
        self.message_id: RequestId | None = None
        self.owner: str | None = None
        self.identify_again: Callable[[], Awaitable[str]] | None = None
        self.session_id: str | None = None
        self.status = 0
        self._request_id = ""

    @property
    def request_id(self) -> str:
        """What the log calls this request: the client's X-Request-Id or trace id, else a random one.

        Source: W3C Trace Context, "traceparent".
        """
        if not self._request_id:
            given = self.headers.get(b"x-request-id", b"")
            trace = _TRACE.fullmatch(self.headers.get(b"traceparent", b""))
            if _REQUEST_ID.fullmatch(given):
                self._request_id = given.decode()
            else:
                self._request_id = trace[1].decode() if trace else os.urandom(8).hex()
        return self._request_id

    async def body(self, bytes_max: int, under_way: UnderWay) -> bytes:
        """Return the whole body.

        Raises:
            Problem: 413, it is longer than `bytes_max`; 400, the client left before its end.
            Refused: Too many bytes of bodies are under way.
        """
        event = await self.receive()
        body: bytes = event.get("body", b"")
        if event.get("more_body", False):
            parts, size = [body], len(body)
            try:
                while event.get("more_body", False) and size <= bytes_max:
                    event = await self.receive()
                    parts.append(event.get("body", b""))
                    size += len(parts[-1])
                    under_way.add(len(parts[-1]))
            finally:
                under_way.add(len(body) - size)
            body = b"".join(parts)
        if event["type"] == "http.disconnect":
            raise Problem(400, "the request ended before its body did")
        if len(body) > bytes_max:
            raise Problem(413, f"a message may have {bytes_max} bytes; send less", headers=[(b"connection", b"close")])
        return body

    async def answer(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        """Send a whole answer; one that says that the server failed names the request as the log does."""
        self.status = status
        headers = [*self.more, *(headers or ())]
        if status >= 500:
            headers.append((b"x-request-id", self.request_id.encode()))
        if body:
            headers += [JSON, (b"content-length", b"%d" % len(body))]
        elif status != 204:
            headers.append((b"content-length", b"0"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def fail(self, error: HoldfastError) -> None:
        """Send what an error means to the client."""
        await self.answer(*as_answer(error, self.message_id))

    async def stream(
        self,
        outlet: Outlet,
        feed: Callable[[Push], Awaitable[None]],
        *,
        within_s: float | None = None,
        watch_after_s: float = WATCH_AFTER_S,
    ) -> None:
        """Send what `feed` pushes as server-sent events until it returns; a client that leaves closes `outlet`.

        That it left is noticed from `watch_after_s` seconds on: most streams are over by then.

        With `within_s` the outlet is closed so many seconds after the first chunk, with the time after which the client
        shall return.
        A status can no longer tell what goes wrong in `feed`, so an event does. The head goes out with the first chunk:
        `feed` pushes one at once, or what it waits for comes soon.
        """

        async def push(chunk: bytes) -> None:
            if not self.status:  # with the first chunk, so that both are one write to the client
                self.status = 200
                headers = [*self.more, *STREAM_HEADERS]
                await self.send({"type": "http.response.start", "status": 200, "headers": headers})
                attendance.end_after(within_s)
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})

        attendance = Attendance(self.receive, outlet, self.identify_again, self.owner)
        attendance.begin(watch_after_s)
        try:
            try:
                await feed(push)
            except (Unavailable, Refused) as error:
                _log.warning("a stream broke off, its client will come back: %s", error)
                await push(RETRY)
            except HoldfastError as error:
                await push(unnumbered(as_answer(error, None)[2]))
            except Exception:
                _log.exception("a stream failed")
                await push(unnumbered(error_answer(None, INTERNAL_ERROR, "internal error; see the log")))
            if not self.status:
                await push(b"")
            await self.send({"type": "http.response.body", "body": b""})
        finally:
            attendance.end()
