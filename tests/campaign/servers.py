"""The server processes of one run: the one that serves, and at times the next one beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.kit import PROBE, Served

from . import disk

READY_S_MAX: Final = 60.0
GONE_S_MAX: Final = 60.0
Server = subprocess.Popen[str]


class Servers(Served):
    """A data directory and port; `process` is the server that serves them, `running` all that were begun and live."""

    def __init__(self, data: Path, options: tuple[str, ...]) -> None:
        super().__init__(data, PROBE, options, None)
        self._begun: list[Server] = []

    def start(self, *options: str) -> None:
        """Start a server and return once it listens."""
        self.ready(self.begin(*options))

    def begin(self, *options: str) -> Server:
        """Start a server and do not wait for it."""
        words = ["serve", "--port", str(self.port), "--data", str(self.data), *self.options, *options, "--"]
        with (self.data.parent / f"{self.data.name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", *words, *self.command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.data.parent,
            )
        self._begun.append(process)
        return process

    def ready(self, process: Server) -> None:
        """Return once a server that was begun listens; it is the one that serves from now on."""
        assert process.stdout is not None
        late = threading.Timer(READY_S_MAX, process.kill)
        late.start()
        while "stop with" not in (line := process.stdout.readline()):
            assert line, f"the server ended: {process.wait()}; {self.log[-2000:]}"
        late.cancel()
        self.process = process

    @property
    def running(self) -> list[Server]:
        """All servers that have been begun and have not ended."""
        return [process for process in self._begun if process.poll() is None]

    def kill_all(self) -> None:
        """Kill every server, and wait for its end."""
        for process in self.running:
            process.kill()
        for process in self._begun:
            process.wait(GONE_S_MAX)
            if process.stdout is not None:
                process.stdout.close()
        self._begun.clear()

    def kill_keepers(self) -> None:
        """Kill the keeper, if one runs; its workers are its own affair."""
        for pid in disk.keepers(self.data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def servers(data: Path, *options: str) -> Iterator[Servers]:
    """Serve the probe from `data`; at the end all servers are killed, and the keeper with its workers."""
    these = Servers(data, options)
    try:
        these.start()
        yield these
    finally:
        these.kill_all()
        these.kill_keepers()
