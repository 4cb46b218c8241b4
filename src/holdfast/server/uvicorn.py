"""Runs the edge on uvicorn, uvloop and httptools, which were the fastest of what was measured."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, cast

import uvicorn
import uvloop

from ..runtime import Periodic, spawn
from ..transport.asgi import Receive, Scope, Send
from .uvicorn_protocol import BoundedProtocol, HttpBounds

KEPT_S: Final = 75  # more than proxies keep an idle connection, so that none sends into one that is being closed
GARBAGE_THRESHOLD: Final = 20_000
LOOKED_AT_A_SLICE: Final = 500
DESCRIPTORS_MAX: Final = 2**16

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Server(uvicorn.Server):
    async def look(self) -> None:
        """End the connections that have hung for too long."""
        now = asyncio.get_running_loop().time()
        for number, connection in enumerate(list(self.server_state.connections), 1):
            if number % LOOKED_AT_A_SLICE == 0:
                await asyncio.sleep(0)
            cast(BoundedProtocol, connection).look(now)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs this server, who has streams to end first."""
        yield


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end on an event loop of its own, with as many descriptors as the system allows within reason.

    What was made up to now stays for good, so the garbage collector need not look at it again and again; and it looks
    less often, for a request leaves hardly any cycles behind.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, DESCRIPTORS_MAX)), hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def serve_until_signalled(
    app: App,
    listener: socket.socket,
    *,
    listening: Callable[[], None],
    drain: Callable[[], Coroutine[Any, Any, None]],
    bounds: HttpBounds | None = None,
) -> None:
    """Answer HTTP on `listener` until a signal to stop; then accept no more, `drain`, and end every connection.

    SIGTERM, SIGINT and SIGHUP (the terminal is gone) stop it. A second one cuts `drain` short.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of whatever strangers send, at their pace
    within = bounds or HttpBounds()
    config = uvicorn.Config(
        app,
        http=type("_Protocol", (BoundedProtocol,), {"bounds": within, "connections_max": within.connections}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=KEPT_S,
    )
    server = _Server(config)
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, signals.put_nowait, None)
    looking = Periodic("look after connections", server.look, interval_s=within.look_every_s)
    looking.start()
    serving = spawn(server.serve(sockets=[listener]), name="serve HTTP")
    listening()
    signalled = spawn(signals.get(), name="wait for a signal")
    await asyncio.wait({serving, signalled}, return_when=asyncio.FIRST_COMPLETED)
    for accepting in server.servers:
        accepting.close()
    draining, hurried = spawn(drain(), name="drain"), spawn(signals.get(), name="wait for a second signal")
    await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        draining.cancel()
        server.force_exit = True
    server.should_exit = True
    signalled.cancel()
    hurried.cancel()
    await serving
    await looking.stop()
