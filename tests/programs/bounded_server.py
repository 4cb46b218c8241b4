"""An HTTP server on our protocol with short bounds, and an application that answers without end, or with much.

bounded_server.py PORT HEAD_S BODY_S STALLED_S CONNECTIONS_MAX
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

from holdfast.server.uvicorn import run, serve_until_signalled
from holdfast.server.uvicorn_protocol import HttpBounds

streaming: set[str] = set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer what the path asks for."""
    body = b""
    event = await receive()
    while event["type"] == "http.request":
        body += event["body"]
        if not event["more_body"]:
            break
        event = await receive()
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    path = scope["path"]
    if path == "/stream":
        await stream(scope["query_string"].decode(), send)
        return
    if path == "/slow":
        await asyncio.sleep(1.5)
    answer = (
        b"x" * 30_000_000
        if path == "/big"
        else json.dumps(
            {"path": path, "body": body.decode("latin-1"), "headers": headers, "streaming": sorted(streaming)}
        ).encode()
    )
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})


async def stream(name: str, send: Any) -> None:
    """Send more and more until it can not be sent; uvicorn drops what is written after the end."""
    streaming.add(name)
    task = asyncio.current_task()
    assert task is not None
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        for _ in range(20_000):
            await send({"type": "http.response.body", "body": b"y" * 10_000, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
    finally:
        streaming.discard(name)


async def main(port: int, bounds: HttpBounds) -> None:
    """Serve until a signal."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)

    async def drain() -> None:
        return

    await serve_until_signalled(
        app, listener, listening=lambda: print("listening", flush=True), drain=drain, bounds=bounds
    )


if __name__ == "__main__":
    port, head_s, body_s, stalled_s, connections_max = sys.argv[1:]
    run(
        main(
            int(port),
            HttpBounds(
                head_s=float(head_s),
                body_s=float(body_s),
                stalled_s=float(stalled_s),
                connections_max=int(connections_max),
                look_every_s=0.05,
            ),
        )
    )
