#!/usr/bin/env python3
"""Drive one MCP Streamable HTTP endpoint with wrk and print one JSON line.

    http_load.py http://127.0.0.1:8000/mcp --sessions 16 --connections 16 --seconds 5

Opens SESSIONS sessions (protocol 2025-11-25), checks in each that echo answers, then CONNECTIONS keep-alive
connections call tools/call echo round robin over the sessions. Needs wrk (Debian package) and Python's standard
library. Loopback addresses only. Prints: rps, p50, p99, p99.9 and max in ms, non-2xx answers, socket errors, how long
opening one session took, and with --server the processor time that this process took for one request.

What is counted are whole answers, streams up to their end: in a second of the same load before, every answer is read
and must hold what was called for, once each unless --one-answer says that all are the same; and the answers that are
measured must be as long as those.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}
INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "load", "version": "1"},
    },
}
INITIALIZED: Final = {"jsonrpc": "2.0", "method": "notifications/initialized"}
ECHO: Final = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "hello"}},
}
ANSWER_BYTES_MAX: Final = 2**20
SCRIPT: Final = Path(__file__).resolve().parent / "echo.lua"
CHECKED_FROM: Final = 10**9  # ids of the check, which may still be in flight when the measured run begins
CHECK_S: Final = 1
LENGTHS_DIFFER_MAX: Final = 0.1  # ids and event ids grow by some digits during a run
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def post(url: str, message: dict[str, Any], session: str | None = None, token: str | None = None) -> tuple[str, bytes]:
    """Return the session the answer names, or '', and its body."""
    headers = dict(HEADERS, **({"Mcp-Session-Id": session} if session else {}))
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(message).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.headers["Mcp-Session-Id"] or "", reply.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        sys.exit(f"{message['method']} was answered with {error.code}: {error.read(500)!r}")


def open_session(url: str, token: str | None = None) -> str:
    """Return the id of a new session."""
    session, _ = post(url, INITIALIZE, token=token)
    post(url, INITIALIZED, session, token)
    return session


def check(url: str, session: str, token: str | None = None) -> None:
    """Leave when echo does not answer: errors answered with 200 would look fast."""
    _, body = post(url, ECHO, session, token)
    if b"hello" not in body:
        sys.exit(f"echo does not answer: {body[:200]!r}")


def drive(
    url: str,
    sessions: list[str],
    connections: int,
    seconds: int,
    token: str | None = None,
    *,
    one_answer: bool = False,
) -> dict[str, Any]:
    """Return what wrk measured, and how many were `answered` with those of the check.

    It leaves when what wrk counts are not whole answers.
    """
    checked = _wrk(url, sessions, connections, CHECK_S, token, "same" if one_answer else "each")
    if checked["broken"] or not 0 < checked["whole"] == checked["requests"]:
        sys.exit(f"of {checked['requests']} answers {checked['whole']} are whole; not: {checked['broken']}")
    figures = _wrk(url, sessions, connections, seconds, token, "")
    if not figures["requests"]:
        sys.exit("nothing was answered")
    length, expected = (run["bytes"] / run["requests"] for run in (figures, checked))
    if abs(length - expected) > LENGTHS_DIFFER_MAX * expected:
        sys.exit(f"an answer had {length:.0f} bytes, but {expected:.0f} when they were checked")
    figures["rps"] = round(figures["requests"] / figures["seconds"], 1)
    figures["bytes_per_answer"] = round(length)
    figures["answered"] = figures["requests"] + checked["requests"]
    return figures


def _wrk(
    url: str, sessions: list[str], connections: int, seconds: int, token: str | None, checked: str
) -> dict[str, Any]:
    ids = ",".join(f'"{session}"' for session in sessions)
    first = CHECKED_FROM if checked else 10
    settings = f'ids, token, first, checked = {{{ids}}}, "{token or ""}", {first}, "{checked}"\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(settings + SCRIPT.read_text())
        script.flush()
        size = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        command = ["wrk", *size, "-s", script.name, url]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    found = re.search(r"RESULT (\{.*\})", run.stdout)
    if not found:
        sys.exit(f"wrk failed: {run.stdout}{run.stderr}")
    figures: dict[str, Any] = json.loads(found.group(1))
    return figures


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has taken, without its children."""
    # What is in brackets may hold anything; what follows the last one are numbers, see proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--token", help="what every request carries: Authorization: Bearer TOKEN")
    parser.add_argument("--one-answer", action="store_true", help="the server answers all requests the same")
    parser.add_argument("--server", type=int, metavar="PID", help="the process whose time is told")
    options = parser.parse_args()
    if urllib.parse.urlparse(options.url).hostname not in ("127.0.0.1", "localhost", "::1"):
        sys.exit("only loopback addresses are driven")
    started = time.perf_counter()
    sessions = [open_session(options.url, options.token) for _ in range(options.sessions)]
    opened_ms = (time.perf_counter() - started) * 1000 / options.sessions
    for session in sessions:
        check(options.url, session, options.token)
    before_s = cpu_s(options.server) if options.server else 0.0
    size = (options.connections, options.seconds)
    figures = drive(options.url, sessions, *size, options.token, one_answer=options.one_answer)
    if options.server:
        figures["server_cpu_us"] = round((cpu_s(options.server) - before_s) / figures["answered"] * 1e6, 1)
    print(json.dumps(figures | {"open_session_ms": round(opened_ms, 2)}))


if __name__ == "__main__":
    main()
