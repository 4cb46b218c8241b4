"""An HTTP server that sends its connections to the one that comes after it, when it is told to on standard input.

moving_server.py LISTENER PREDECESSOR SUCCESSOR CONNECTIONS_MAX HEAD_S

LISTENER is a descriptor, and so are the other two: the channels from the one before it and to the one after it.
"leave" lets it leave, and "go" what it holds.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

from holdfast.server.uvicorn import Succession, run, serve_until_signalled
from holdfast.server.uvicorn_protocol import HttpBounds

under_way: set[asyncio.Task[Any]] = set()
told = {"leave": asyncio.Event(), "go": asyncio.Event()}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with our pid, the path and the body; `/held` waits for "go", `/big` and `/little` have more to say."""
    task = asyncio.current_task()
    assert task is not None
    under_way.add(task)
    task.add_done_callback(under_way.discard)
    event = await receive()
    if scope["path"] == "/held":
        print("begun", flush=True)
    body = event["body"]
    while event.get("more_body"):
        event = await receive()
        body += event.get("body", b"")
    if scope["path"] == "/held":
        print("held", flush=True)
        await told["go"].wait()
    answer = b"%d %s %s" % (os.getpid(), scope["path"].encode(), body)
    answer += b"x" * {"/big": 8_000_000, "/little": 40_000}.get(scope["path"], 0)
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def listen_to_orders() -> None:
    """Set the event that each line of standard input names."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        told[line.decode().strip()].set()


async def main(listener: int, predecessor: int, successor: int, bounds: HttpBounds) -> None:
    """Serve until the last connection has left, or a signal."""
    listening = asyncio.create_task(listen_to_orders())

    async def wait() -> socket.socket:
        await told["leave"].wait()
        return socket.socket(fileno=successor)

    async def hand_over() -> None:
        print("leaving", flush=True)
        await told["go"].wait()
        await asyncio.gather(*under_way)

    await serve_until_signalled(
        app,
        socket.socket(fileno=listener),
        listening=lambda: print("listening", flush=True),
        drain=lambda: asyncio.sleep(0),
        bounds=bounds,
        succession=Succession(socket.socket(fileno=predecessor), wait, hand_over),
    )
    listening.cancel()


if __name__ == "__main__":
    descriptors, connections_max, head_s = sys.argv[1:4], sys.argv[4], sys.argv[5]
    within = HttpBounds(connections_max=int(connections_max), head_s=float(head_s), look_every_s=0.05)
    listener, predecessor, successor = map(int, descriptors)
    run(main(listener, predecessor, successor, within))
