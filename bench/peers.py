"""Who takes part: how each is started on a port, and whether it is installed here."""

from __future__ import annotations

import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.identity.rules import token_line

BENCH: Final = Path(__file__).resolve().parent
OUT: Final = BENCH / "out"
ECHO: Final = BENCH / "echo_stdio.py"
ECHO_COMMAND: Final = ("python3", str(ECHO))


@dataclass(frozen=True)
class Peer:
    """One contestant. `{port}`, `{place}` (a folder), `{data}` and `{tokens}` (in it) are filled in for each round.

    With a `token`, the file `{tokens}` lets it in, and every request carries it. With `one_answer` it answers all
    requests the same.
    """

    name: str
    command: tuple[str, ...]
    token: str | None = None
    one_answer: bool = False

    def started_with(self, port: int, place: Path) -> list[str]:
        """Return the command for one round, whose files are in `place`."""
        tokens = place / "tokens"
        if self.token is not None:
            token_file(tokens, self.token)
        return [part.format(port=port, data=place / "data", tokens=tokens, place=place) for part in self.command]


def token_file(path: Path, token: str) -> Path:
    """Make a file that lets in whoever has `token`."""
    path.touch(mode=0o600)
    path.write_text(token_line("bench", token) + "\n")
    return path


def holdfast(*options: str, command: tuple[str, ...] = ECHO_COMMAND) -> tuple[str, ...]:
    """Return the command that serves with these options."""
    program = str(Path(sys.executable).parent / "holdfast")
    return (program, "serve", "--port", "{port}", "--data", "{data}", *options, "--", *command)


def with_idle_sessions(*options: str) -> Peer:
    """Return a Holdfast whose sessions echo, and those opened once the file `{place}/idle` is there do nothing."""
    command = ("sh", str(BENCH / "idle_worker.sh"), "{place}/idle", str(ECHO))
    return Peer("holdfast", holdfast(*options, command=command))


def installed() -> list[Peer]:
    """Return the contestants found on this machine, the empty app first."""
    peers = [
        Peer("empty", (sys.executable, str(BENCH / "empty_app.py"), "{port}"), one_answer=True),
        Peer("holdfast", holdfast()),
        Peer("holdfast, token", holdfast("--token-file", "{tokens}"), token=secrets.token_urlsafe(32)),
        Peer("holdfast, streams", holdfast("--answer", "stream")),
    ]
    if gateway := _supergateway():
        peers.append(gateway)
    proxy = OUT / "mcp-proxy" / "bin" / "mcp-proxy"
    if proxy.exists():
        peers.append(Peer("mcp-proxy", (str(proxy), "--port", "{port}", "--host", "127.0.0.1", "--", *ECHO_COMMAND)))
    return peers


def _supergateway() -> Peer | None:
    script = OUT / "node" / "node_modules" / "supergateway" / "dist" / "index.js"
    node = shutil.which("node")
    if node is None or not script.exists():
        return None
    options = ("--outputTransport", "streamableHttp", "--stateful", "--streamableHttpPath", "/mcp")
    command = (node, str(script), "--stdio", f'python3 "{ECHO}"', *options, "--port", "{port}", "--logLevel", "none")
    return Peer("supergateway", command)
