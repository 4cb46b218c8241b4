"""Runs the edge on uvicorn, uvloop and httptools, which were the fastest of what was measured."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import uvicorn
import uvloop

from ..runtime import Periodic, spawn
from ..transport.asgi import Receive, Scope, Send
from .moving import Arrivals, Departure
from .uvicorn_protocol import BoundedProtocol, HttpBounds

KEPT_S: Final = 75  # more than proxies keep an idle connection, so that none sends into one that is being closed
GARBAGE_THRESHOLD: Final = 20_000
LOOKED_AT_A_SLICE: Final = 500
DESCRIPTORS_MAX: Final = 2**16

SETTLES_S: Final = 2.0
LEAVING_S: Final = 10.0

App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Succession:
    """Who serves before and after this process.

    `predecessor` is the channel that its connections come through. `successor` returns the channel for ours, if there
    is one, when another process takes our place; then `hand_over` returns when no request needs this process any more.
    """

    predecessor: socket.socket
    successor: Callable[[], Coroutine[Any, Any, socket.socket | None]]
    hand_over: Callable[[], Coroutine[Any, Any, None]]


class _Server(uvicorn.Server):
    @property
    def connections(self) -> Collection[BoundedProtocol]:
        """Those that are open now."""
        return cast(Collection[BoundedProtocol], self.server_state.connections)

    async def look(self) -> None:
        """End the connections that have hung for too long."""
        now = asyncio.get_running_loop().time()
        for number, connection in enumerate(list(self.connections), 1):
            if number % LOOKED_AT_A_SLICE == 0:
                await asyncio.sleep(0)
            connection.look(now)

    def arrived(self, is_kept: bool) -> BoundedProtocol:
        """Return a protocol for a connection that comes from another process."""
        make = cast(Callable[..., BoundedProtocol], self.config.http_protocol_class)
        protocol = make(config=self.config, server_state=self.server_state, app_state={})
        protocol.is_kept = is_kept
        return protocol

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
    succession: Succession | None = None,
) -> None:
    """Answer HTTP on `listener` until a signal to stop; then accept no more, `drain`, and end every connection.

    SIGTERM, SIGINT and SIGHUP (the terminal is gone) stop it. A second one cuts `drain` short. With a `succession` it
    also stops when another process takes its place; that one has the connections then, and none of them ends.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of whatever strangers send, at their pace
    within, departure = bounds or HttpBounds(), Departure()
    server = _Server(_config(app, within, departure))
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, signals.put_nowait, None)
    looking = Periodic("look after connections", server.look, interval_s=within.look_every_s)
    looking.start()
    serving = spawn(server.serve(sockets=[listener]), name="serve HTTP")
    arrivals = None if succession is None else Arrivals(succession.predecessor, server.arrived)
    listening()
    end = await _until_asked_to_stop(server, serving, signals, drain, departure, succession)
    for accepting in server.servers:
        accepting.close()
    ending, hurried = spawn(end(), name="drain"), spawn(signals.get(), name="wait for a second signal")
    await asyncio.wait({ending, hurried}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        ending.cancel()
        server.force_exit = True
    server.should_exit = True
    hurried.cancel()
    if arrivals is not None:
        arrivals.close()
    await serving
    await looking.stop()


def _config(app: App, bounds: HttpBounds, departure: Departure) -> uvicorn.Config:
    made = {"bounds": bounds, "connections_max": bounds.connections, "departure": departure}
    return uvicorn.Config(
        app,
        http=type("_Protocol", (BoundedProtocol,), made),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=KEPT_S,
    )


async def _until_asked_to_stop(
    server: _Server,
    serving: asyncio.Task[None],
    signals: asyncio.Queue[None],
    drain: Callable[[], Coroutine[Any, Any, None]],
    departure: Departure,
    succession: Succession | None,
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return how to end, once a signal or a successor asks for it."""
    signalled = spawn(signals.get(), name="wait for a signal")
    if succession is None:
        await asyncio.wait({serving, signalled}, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        return drain
    relieved = spawn(succession.successor(), name="wait for a successor")
    await asyncio.wait({serving, signalled, relieved}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not relieved.done():
        relieved.cancel()
        return drain
    channel, hand_over = relieved.result(), succession.hand_over

    async def leave() -> None:
        if channel is not None:
            await departure.begin(channel, server.connections)
            await departure.settle(SETTLES_S)
        await hand_over()
        if channel is not None:
            await departure.finish(LEAVING_S)
            departure.close()

    return leave
