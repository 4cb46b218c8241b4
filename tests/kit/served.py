"""`holdfast serve` as a process that a test may stop, kill and start again."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.gateway.keeper_socket import connect_to_keeper
from holdfast_keeper import wire

from .client import McpClient
from .machine import free_port
from .waiting import eventually

ROOT: Final = Path(__file__).parents[2]
ECHO: Final = (sys.executable, str(ROOT / "bench" / "echo_stdio.py"))
PROBE: Final = (sys.executable, str(ROOT / "tests" / "programs" / "probe_server.py"))


class Served:
    """One data directory and port, and the server process that serves them now."""

    def __init__(self, data: Path, command: Sequence[str], options: Sequence[str], env: dict[str, str] | None) -> None:
        self.data = data
        self.port = free_port()
        self.command = command
        self.options = options
        self.env = env
        self.process: subprocess.Popen[str] | None = None
        self.said: list[str] = []

    def start(self, *options: str) -> None:
        """Start the server and return once it listens."""
        words = ["serve", "--port", str(self.port), "--data", str(self.data), *self.options, *options, "--"]
        with (self.data.parent / f"{self.data.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", *words, *self.command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.data.parent,
                env={**os.environ, **(self.env or {})},
            )
        assert self.process.stdout is not None
        self.said = []
        while "stop with" not in (line := self.process.stdout.readline()):
            assert line, f"the server ended: {self.process.wait()}; {self.log[-2000:]}"
            self.said.append(line)

    @property
    def log(self) -> str:
        return (self.data.parent / f"{self.data.name}.log").read_text()

    def client(self, session: str | None = None) -> McpClient:
        return McpClient(self.port, session)

    def opened(self) -> McpClient:
        """Return a client whose session is open."""
        client = self.client()
        client.initialize()
        return client

    def kill(self) -> None:
        """End the server as a crash would."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def kill_all(self) -> None:
        """End the server and its keeper, so that no worker is left, as the end of the machine would."""
        pid = keeper_of(self.data)
        self.kill()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists())

    def terminate(self) -> int:
        """Ask the server to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None
        code = self.process.wait(timeout=120)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def serving(
    data: Path, *options: str, command: Sequence[str] = ECHO, env: dict[str, str] | None = None
) -> Iterator[Served]:
    """Serve `command` from `data`; at the end the server is killed if it still runs."""
    served = Served(data, command, options, env)
    served.start()
    try:
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()
        end_keeper(data)


def keeper_of(data: Path) -> int:
    """Return the process id of the keeper that serves a data directory."""
    connection = connect_to_keeper(data)
    assert connection is not None
    with connection:
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def end_keeper(data: Path) -> None:
    """End what lives on without a server, with its workers, and return once it is gone."""
    try:
        connection = connect_to_keeper(data)
        if connection is None:
            return
        with connection:
            asked = {"versions": [wire.VERSION], "role": "operator", "asks": "stop", "grace_s": 0.2}
            connection.sendall(wire.message(wire.HELLO, 0, json.dumps(asked).encode()))
            while connection.recv(65536):
                pass
    except OSError:  # it ended by itself meanwhile
        return
