"""A client that a test tells what to do: a driver process, and what it says."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from types import TracebackType
from typing import IO, Any, Final, Self

import pytest

from tests.kit import ROOT, node

SAYS_WITHIN_S: Final = 60.0
ENDS: Final = ("tools", "answer", "failed")
TALKING: Final = (sys.executable, str(ROOT / "tests" / "programs" / "talking_server.py"))

PYTHON_AUTO: Final = "Python SDK 2.3, `auto`"
PYTHON_LEGACY: Final = "Python SDK 2.3, `legacy`"
FASTMCP: Final = "FastMCP 4.1"
SDK_V1: Final = "TypeScript SDK 1.32"
V2_LEGACY: Final = "TypeScript client 2.4, `legacy`"
V2_AUTO: Final = "TypeScript client 2.4, `auto`"
DRIVEN: Final = (PYTHON_AUTO, PYTHON_LEGACY, FASTMCP, SDK_V1, V2_LEGACY, V2_AUTO)


def words(client: str, url: str) -> tuple[str, ...]:
    """Return the command that runs the driver of `client`; Node's is looked for only when it is wanted."""
    python = (sys.executable, "-m")
    if client == PYTHON_AUTO:
        return (*python, "tests.clients.mcp_sdk_driver", url, "auto")
    if client == PYTHON_LEGACY:
        return (*python, "tests.clients.mcp_sdk_driver", url, "legacy")
    if client == FASTMCP:
        return (*python, "tests.clients.fastmcp_driver", url)
    if client == SDK_V1:
        return (*node("client_v1_driver.mjs"), url)
    return (*node("client_v2_driver.mjs"), "auto" if client == V2_AUTO else "legacy", url)


class Driver:
    """One client, connected by a process of its own until the block ends.

    `heard` is everything it said, in order. `more` are further words for its command line.
    """

    def __init__(self, client: str, url: str, *more: str) -> None:
        self._command = (*words(client, url), *more)
        self.heard: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self._listen, args=(self.process.stdout,)),
            threading.Thread(target=self._errors.extend, args=(self.process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()
        try:
            self.connected = self.until("connected")["connected"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if not self.is_gone and kind is None:
                self.tell(do="close")
                self.process.wait(SAYS_WITHIN_S)
        finally:
            self._end()

    @property
    def is_gone(self) -> bool:
        return self.process.poll() is not None

    def tell(self, **command: Any) -> None:
        """Say what to do, and do not wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Have a tool called; return how the client says it ended."""
        self.tell(do="call", tool=tool, arguments=arguments)
        return self.until(*ENDS)

    def until(self, *keys: str) -> dict[str, Any]:
        """Return the next thing it says that has one of `keys`; fail the test when it ends or says nothing."""
        while True:
            try:
                line = self._lines.get(timeout=SAYS_WITHIN_S)
            except queue.Empty:
                pytest.fail(f"waited for {keys}; it said {self.heard}")
            if not line:
                self.process.wait(SAYS_WITHIN_S)
                raise Gone(f"it ended while {keys} were awaited: {''.join(self._errors)[-3000:]}")
            said: dict[str, Any] = json.loads(line)
            self.heard.append(said)
            if not said.keys().isdisjoint(keys):
                return said

    def _listen(self, lines: IO[str]) -> None:
        for line in lines:
            self._lines.put(line)
        for thread in self._threads[1:]:
            thread.join()
        self._lines.put("")

    def _end(self) -> None:
        if not self.is_gone:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Gone(Exception):
    """The client has ended by itself."""
