"""Servers one after the other, or beside each other, on one data directory and port, and the keeper they share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.peers import holdfast
from bench.started import END_WITHIN_S, MARK, READY_WITHIN_S, end, end_all_in, free_port

from holdfast.cli.keeper import Operator
from holdfast.cli.keeper_report import Answer
from holdfast.model import SystemClock
from holdfast.wiring import connect_to_keeper

LOOK_EVERY_S: Final = 0.02
MEMORY: Final = ("Pss", "Private_Clean", "Private_Dirty")


class Servers:
    """One data directory and port; `began_s` and `ready_s` are when the newest server was started and listened."""

    def __init__(self, place: Path, command: Sequence[str], options: Sequence[str]) -> None:
        self.place = place
        self.data = place / "data"
        self.port = free_port()
        self.began_s = self.ready_s = 0.0
        self.started: list[subprocess.Popen[str]] = []
        self._command = tuple(command)
        self._options = tuple(options)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a server with these options more; return it once it listens.

        Raises:
            RuntimeError: It ended before, or does not within `READY_WITHIN_S` seconds; the message ends with its log.
        """
        words = holdfast(*self._options, *options, command=self._command)
        filled = [word.format(port=self.port, data=self.data, place=self.place) for word in words]
        self.began_s = time.monotonic()
        with (self.place / "log").open("ab") as log:
            server = subprocess.Popen(
                filled, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
                env={**os.environ, MARK: str(self.place)},
            )  # fmt: skip
        self.started.append(server)
        assert server.stdout is not None
        while "stop with" not in (line := server.stdout.readline()):
            if not line or time.monotonic() - self.began_s > READY_WITHIN_S:
                raise RuntimeError(f"the server does not listen: {self.last_words}")
        self.ready_s = time.monotonic()
        return server

    @property
    def last_words(self) -> str:
        """What the servers logged last."""
        return (self.place / "log").read_text(errors="replace")[-500:]

    @property
    def url(self) -> str:
        """Where it speaks MCP."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def keeper(self) -> Answer:
        """Return what the keeper tells its operator.

        Raises:
            RuntimeError: There is none.
        """
        connection = connect_to_keeper(self.data)
        if connection is None:
            raise RuntimeError(f"no keeper runs: {self.last_words}")
        with connection:
            return Operator(connection, self.data, SystemClock()).ask("status")

    def keeper_memory_kb(self) -> dict[str, int]:
        """Return the keeper's memory: `pss` with its part of what is shared, `uss` without."""
        told: dict[str, int] = {}
        for line in Path(f"/proc/{self.keeper().pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in MEMORY:
                told[name] = int(rest.split()[0])
        return {"pss": told["Pss"], "uss": told["Private_Clean"] + told["Private_Dirty"]}

    def stop_keeper(self) -> None:
        """End the keeper with all its workers, once no server is left."""
        command = (sys.executable, "-m", "holdfast", "keeper", "stop", "--data", str(self.data))
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=120)


@contextlib.contextmanager
def servers(*options: str, command: Sequence[str], end_within_s: float = END_WITHIN_S) -> Iterator[Servers]:
    """Give a fresh data directory and port; at the end nothing is left of what was started on it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as folder:
        found = Servers(Path(folder), command, options)
        try:
            yield found
        finally:
            for server in found.started:
                if server.poll() is None:
                    end(server, end_within_s)
            found.stop_keeper()
            end_all_in(folder, within_s=end_within_s)


def until(condition: Callable[[], Any], what: str, within_s: float) -> float:
    """Return when the condition became true, looking every `LOOK_EVERY_S` seconds.

    Raises:
        RuntimeError: It did not within `within_s` seconds.
    """
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            raise RuntimeError(f"{what} did not happen within {within_s:g} s")
        time.sleep(LOOK_EVERY_S)
    return time.monotonic()
