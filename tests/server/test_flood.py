"""Ten thousand strangers who open sessions and never use them: memory, starting servers and the disk are bounded."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.identity.rules import token_line
from tests.kit import ROOT, McpClient, Served, eventually, serving

pytestmark = pytest.mark.slow

FLOOD = 10_000
CONNECTIONS = 64
SESSIONS_MAX = 40
STARTING_MAX = 4
MEMORY_BYTES_MAX = 100 * 2**20
DISK_BYTES_MAX = 20 * 2**20

PARAMS = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x" * 1000, "version": "1"}}
INITIALIZE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": PARAMS}).encode()
REQUEST = (
    b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (len(INITIALIZE), INITIALIZE)
)


@contextmanager
def flooded(folder: Path, *options: str) -> Iterator[Served]:
    """Serve the counting server with few sessions allowed."""
    (folder / "starting").mkdir()
    command = (sys.executable, "-I", "-S", str(ROOT / "tests" / "programs" / "starting_server.py"), str(folder))
    bounds = ("--max-sessions", str(SESSIONS_MAX), "--max-starting", str(STARTING_MAX))
    with serving(folder / "data", *bounds, *options, command=command) as served:
        yield served


def memory_bytes(served: Served) -> int:
    """Return what the server and its keeper hold in memory, which they share with nobody."""
    assert served.process is not None
    keepers = _children(served.process.pid)
    assert len(keepers) == 1
    return sum(_private_bytes(pid) for pid in (served.process.pid, *keepers))


def _children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def _private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))) * 1024


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def flood(port: int, times: int) -> Counter[int]:
    """Send so many initializes over a few connections; return how often each status was the answer."""
    statuses: Counter[int] = Counter()
    left = iter(range(times))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(REQUEST)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            statuses[int(head[9:12])] += 1
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            if int(head[9:12]) == 503:
                assert b"\r\nretry-after: " in head
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return statuses


def most_starting(folder: Path) -> int:
    return (folder / "most").stat().st_size


def test_sessions_that_nobody_uses_are_bounded(tmp_path: Path) -> None:
    """R-SEC-1: as many as may exist are opened, everybody else is told when to come again."""
    with flooded(tmp_path) as served:
        before = memory_bytes(served)
        statuses = asyncio.run(flood(served.port, FLOOD))
        assert set(statuses) <= {200, 503} and statuses[503] >= FLOOD - SESSIONS_MAX
        assert memory_bytes(served) - before < MEMORY_BYTES_MAX
        assert 2 <= most_starting(tmp_path) <= STARTING_MAX
        assert len(list((tmp_path / "data" / "sessions").iterdir())) <= SESSIONS_MAX
        assert disk_bytes(tmp_path) < DISK_BYTES_MAX


def test_strangers_cost_nothing(tmp_path: Path) -> None:
    """R-SEC-1: whoever may not come in starts no server and leaves nothing behind."""
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(token_line("somebody", "a-token-of-more-than-enough-letters-0123456789") + "\n")
    with flooded(tmp_path, "--token-file", str(tokens)) as served:
        before = memory_bytes(served)
        assert asyncio.run(flood(served.port, FLOOD)) == {401: FLOOD}
        assert memory_bytes(served) - before < MEMORY_BYTES_MAX
        assert not (tmp_path / "most").exists()
        assert disk_bytes(tmp_path) < DISK_BYTES_MAX
        assert len(served.log) < 100_000


@pytest.mark.parametrize("times", [300, pytest.param(FLOOD, marks=pytest.mark.campaign)])
def test_servers_that_do_not_start_are_started_a_few_at_a_time(tmp_path: Path, times: int) -> None:
    """R-SEC-1: and nothing is left of them."""
    with flooded(tmp_path) as served:
        (tmp_path / "fail").touch()
        before = memory_bytes(served)
        assert set(asyncio.run(flood(served.port, times))) == {503}
        assert 2 <= most_starting(tmp_path) <= STARTING_MAX
        assert memory_bytes(served) - before < MEMORY_BYTES_MAX
        eventually(lambda: not list((tmp_path / "data" / "sessions").iterdir()))
        assert disk_bytes(tmp_path) < DISK_BYTES_MAX
        (tmp_path / "fail").unlink()
        assert McpClient(served.port).initialize()
