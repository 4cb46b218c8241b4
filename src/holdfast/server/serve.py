"""`holdfast serve`: everything that can be wrong is found before the first request, then it runs until a signal."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from ..config import ServeSettings
from ..model import Misused
from .data_dir import locked_data_dir


def serve(settings: ServeSettings, say: Callable[[str], None]) -> None:
    """Host MCP sessions until SIGTERM or SIGINT; `say` gets a few lines for the person at the terminal.

    Raises:
        Misused: Something about the settings or the machine must be changed first; nothing was started.
    """
    _check_command(settings.keeper.command)
    _check_host(settings)
    try:
        from ..wiring import assembled
        from .uvicorn import run, serve_until_signalled
    except ImportError as error:
        raise Misused(f"{error.name} is not installed; install holdfast with its extra `server`") from error
    with locked_data_dir(settings.data) as places, _listener(settings.host, settings.port) as listener:
        host, port = settings.host, listener.getsockname()[1]
        base_url = settings.identity.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"

        def listening() -> None:
            say(f"Serving {' '.join(settings.keeper.command)}")
            say(f"  connect to  {base_url}{settings.edge.path}  (MCP, Streamable HTTP)")
            say(f"  data in     {settings.data}")
            for word in _missing(settings.keeper.command):
                say(f"  mind        there is no file {word} here; a worker will look for it in its session's folder")
            kept = "end with the server" if settings.store == "memory://" else "are kept and go on at the next start"
            say(f"  stop with   Ctrl-C; sessions {kept}")

        async def main() -> None:
            async with assembled(settings, places, base_url) as parts:

                async def drain() -> None:
                    if calls := parts.host.calls_in_flight:
                        say(f"Stopping; calls in flight ({calls}) have a moment to end; Ctrl-C again: at once")
                    leave = parts.host.hand_over if settings.keeper.at_end == "keep" else parts.host.drain
                    await leave()

                await serve_until_signalled(parts.edge, listener, listening=listening, drain=drain)

        run(main())


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
