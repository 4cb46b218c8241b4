"""ASGI as far as the edge needs it: read one request, send one answer or one stream.

Source: ASGI 3.0, "HTTP connection scope".
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from ..model import HoldfastError
from ..model.jsonrpc import INTERNAL_ERROR, error_answer
from ..runtime import spawn
from .problems import Headers, Problem, as_answer
from .sse import unnumbered
from .streams import Outlet

_log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

JSON: Final = (b"content-type", b"application/json")
STREAM_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """Return the whole body.

    Raises:
        Problem: 413, it is longer than `bytes_max`; 400, the client left before its end.
    """
    event = await receive()
    body: bytes = event.get("body", b"")
    if event.get("more_body", False):
        parts, size = [body], len(body)
        while event.get("more_body", False) and size <= bytes_max:
            event = await receive()
            parts.append(event.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if event["type"] == "http.disconnect":
        raise Problem(400, "the request ended before its body did")
    if len(body) > bytes_max:
        raise Problem(413, f"a message may have {bytes_max} bytes; send less", headers=[(b"connection", b"close")])
    return body


async def send_answer(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    """Send a whole answer."""
    if body:
        headers = [*headers, JSON, (b"content-length", b"%d" % len(body))]
    elif status != 204:
        headers = [*headers, (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_stream(
    receive: Receive, send: Send, outlet: Outlet, feed: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
) -> None:
    """Send what `feed` pushes as server-sent events until it returns; a client that leaves closes `outlet`.

    A status can no longer tell what goes wrong in `feed`, so an event does.
    """

    async def push(chunk: bytes) -> None:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})

    watch = spawn(_close_when_gone(receive, outlet), name="watch for a client that leaves")
    try:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        try:
            await feed(push)
        except HoldfastError as error:
            await push(unnumbered(as_answer(error, None)[2]))
        except Exception:
            _log.exception("a stream failed")
            await push(unnumbered(error_answer(None, INTERNAL_ERROR, "internal error; see the log")))
        await send({"type": "http.response.body", "body": b""})
    finally:
        watch.cancel()


async def _close_when_gone(receive: Receive, outlet: Outlet) -> None:
    event = await receive()
    while event["type"] != "http.disconnect":
        event = await receive()
    outlet.close()
