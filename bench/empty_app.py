#!/usr/bin/env python3
"""The cheapest ASGI app on the server that `holdfast serve` runs on: what no gateway on it can be faster than.

It reads the body and answers every request with the same session and the same echo result.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

BODY = b'{"jsonrpc":"2.0","id":10,"result":{"content":[{"type":"text","text":"hello"}],"isError":false}}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(BODY)).encode()),
        (b"mcp-session-id", b"0" * 32),
    ],
}
ANSWER = {"type": "http.response.body", "body": BODY}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(ANSWER)


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off", access_log=False, log_level="error"
    )
