"""Who takes part: how each is started on a port, and whether it is installed here."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BENCH: Final = Path(__file__).resolve().parent
OUT: Final = BENCH / "out"
ECHO: Final = BENCH / "echo_stdio.py"
ECHO_COMMAND: Final = ("python3", str(ECHO))


@dataclass(frozen=True)
class Peer:
    """One contestant. `{port}` and `{data}` in the command are filled in at the start of each round."""

    name: str
    command: tuple[str, ...]

    def started_with(self, port: int, data: Path) -> list[str]:
        """Return the command for one round."""
        return [part.format(port=port, data=data) for part in self.command]


def installed() -> list[Peer]:
    """Return the contestants found on this machine, the empty app first."""
    holdfast = Path(sys.executable).parent / "holdfast"
    peers = [
        Peer("empty", (sys.executable, str(BENCH / "empty_app.py"), "{port}")),
        Peer("holdfast", (str(holdfast), "serve", "--port", "{port}", "--data", "{data}", "--", *ECHO_COMMAND)),
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
