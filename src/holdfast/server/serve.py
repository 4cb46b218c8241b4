"""`holdfast serve`: everything that can be wrong is found before the first request, then it runs until a signal."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..config import ServeSettings
from ..config.settings import MEMORY
from ..model import Misused
from .data_dir import DataDir, opened_data_dir
from .stopped import ending_who_is_stopped

if TYPE_CHECKING:
    from .keeper_door import Door

GONE_S: Final = 60.0
"""How long it may take from the end of draining to that of the process."""


def serve(settings: ServeSettings, say: Callable[[str], None], *, replaces: bool = False) -> None:
    """Host MCP sessions until SIGTERM or SIGINT; `say` gets a few lines for the person at the terminal.

    With `replaces` take the place of the server that uses the data directory, if there is one: its listening socket
    when it listens at this address, its connections, and its sessions with the calls in flight.

    Raises:
        Misused: Something about the settings or the machine must be changed first; nothing was started.
        Unavailable: The server that is there cannot be replaced; it goes on.
    """
    _check_command(settings.keeper.command)
    _check_host(settings)
    if replaces and settings.store == MEMORY:
        raise Misused(f"--replace: with --store {MEMORY} no other server has the sessions; choose another --store")
    try:
        from .keeper_door import door_to
        from .uvicorn import run
    except ImportError as error:
        raise Misused(f"{error.name} is not installed; install holdfast with its extra `server`") from error
    with opened_data_dir(settings.data) as data, ExitStack() as owned:
        door = door_to(data, settings.host, settings.port, replaces=replaces)
        listener = None if door is None else door.listener
        listener = owned.enter_context(listener or _listener(settings.host, settings.port))
        run(_serve(settings, data, listener, door, say))


async def _serve(
    settings: ServeSettings, data: DataDir, listener: socket.socket, door: Door | None, say: Callable[[str], None]
) -> None:
    """Serve on `listener`, which belonged to the server behind `door`, if any, until a signal or a successor."""
    from ..wiring import assembled
    from .keeper_door import Neighbours
    from .uvicorn import Succession, serve_until_signalled

    host, port = settings.host, listener.getsockname()[1]
    base_url = settings.identity.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    replaced = [] if door is None else door.replaced
    async with AsyncExitStack() as stack:
        with ending_who_is_stopped(replaced):
            opening = assembled(settings, data.sessions, base_url, beside=bool(replaced))
            parts = await stack.enter_async_context(opening)

        async def drain() -> None:
            if calls := parts.host.calls_in_flight:
                say(f"Stopping; calls in flight ({calls}) have a moment to end; Ctrl-C again: at once")
            leave = parts.host.hand_over if settings.keeper.at_end == "keep" else parts.host.drain
            await leave()

        async def hand_over() -> None:
            say(f"Replaced by another server, which goes on with the calls in flight ({parts.host.calls_in_flight})")
            parts.workers.keep()
            await parts.edge.settle()
            await parts.host.hand_over(lost=parts.workers.superseded.is_set)

        neighbours = Neighbours(
            data.path,
            listener,
            term=parts.host.term,
            within_s=settings.sessions.drain_s + GONE_S,
            superseded=parts.workers.superseded,
            door=door,
        )
        with closing(neighbours):
            await serve_until_signalled(
                parts.edge,
                listener,
                listening=lambda: _tell(settings, base_url, replaced, say),
                drain=drain,
                succession=Succession(neighbours.predecessor, neighbours.successor, hand_over),
            )


def _tell(settings: ServeSettings, base_url: str, replaced: list[int], say: Callable[[str], None]) -> None:
    say(f"Serving {' '.join(settings.keeper.command)}")
    say(f"  connect to  {base_url}{settings.edge.path}  (MCP, Streamable HTTP)")
    say(f"  data in     {settings.data}")
    if replaced:
        say(f"  in place of the server with pid {', '.join(map(str, replaced))}, which leaves")
    for word in _missing(settings.keeper.command):
        say(f"  mind        there is no file {word} here; a worker will look for it in its session's folder")
    kept = "end with the server" if settings.store == MEMORY else "are kept and go on at the next start"
    say(f"  stop with   Ctrl-C; sessions {kept}")


def _check_command(command: tuple[str, ...]) -> None:
    program = command[0]
    if shutil.which(program) is None:
        there = "it may not be run" if os.path.lexists(program) else "there is no such command"
        raise Misused(f"{program}: {there}; check the words after --")


def _missing(command: tuple[str, ...]) -> list[str]:
    """Return the words that look like a script's path and name nothing; existing ones have their full path by now."""
    return [word for word in command[1:] if word.endswith((".py", ".js", ".mjs", ".ts")) and not Path(word).exists()]


def _check_host(settings: ServeSettings) -> None:
    host, identity = settings.host, settings.identity
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise Misused(f"--host {host}: not an address; write for example 127.0.0.1 or ::1") from error
    if not (address.is_loopback or identity.is_on):
        raise Misused(
            f"--host {host}: anyone who reaches it could use the server, for there is no login; "
            "add --token-file, --jwt-issuer or --trust-header, or listen on 127.0.0.1"
        )
    if address.is_unspecified and identity.jwt is not None and identity.public_url is None:
        raise Misused(f"--host {host}: clients must be told where the server is; add --public-url")


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise Misused(f"port {port} on {host} cannot be used: {error.strerror}; choose another --port") from error
    listener.setblocking(False)
    return listener
