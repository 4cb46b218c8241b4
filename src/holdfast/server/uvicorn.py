"""Runs the edge on uvicorn, uvloop and httptools, which were the fastest of what was measured."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import uvicorn
import uvloop

from ..runtime import spawn
from ..transport.asgi import Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs this server, who has streams to end first."""
        yield


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end on an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def serve_until_signalled(
    app: App, listener: socket.socket, *, listening: Callable[[], None], drain: Callable[[], Awaitable[None]]
) -> None:
    """Answer HTTP on `listener` until SIGTERM or SIGINT; then accept no more, `drain`, and end every connection."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = spawn(server.serve(sockets=[listener]), name="serve HTTP")
    listening()
    signalled = spawn(stop.wait(), name="wait for a signal")
    await asyncio.wait({serving, signalled}, return_when=asyncio.FIRST_COMPLETED)
    for accepting in server.servers:
        accepting.close()
    await drain()
    server.should_exit = True
    signalled.cancel()
    await serving
