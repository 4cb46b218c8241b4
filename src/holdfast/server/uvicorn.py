"""Runs the edge on uvicorn, uvloop and httptools, which were the fastest of what was measured."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..runtime import spawn
from ..transport.asgi import Receive, Scope, Send

GARBAGE_THRESHOLD: Final = 20_000

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _WholeWrites:
    """A transport that sends what is written within one turn of the loop as one piece.

    uvicorn writes the head of an answer and its body one after the other, and uvloop sends each at once: two system
    calls, and a client that is woken twice. Everything but `write` and `close` is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn of the loop, with what else is written in it."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        """Send what is written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            self._transport.write(b"".join(written))


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast(asyncio.Transport, _WholeWrites(transport)))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs this server, who has streams to end first."""
        yield


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end on an event loop of its own.

    What was made up to now stays for good, so the garbage collector need not look at it again and again; and it looks
    less often, for a request leaves hardly any cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def serve_until_signalled(
    app: App, listener: socket.socket, *, listening: Callable[[], None], drain: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Answer HTTP on `listener` until a signal to stop; then accept no more, `drain`, and end every connection.

    SIGTERM, SIGINT and SIGHUP (the terminal is gone) stop it. A second one cuts `drain` short.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, signals.put_nowait, None)
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
