#!/usr/bin/env python3
"""Drive one MCP Streamable HTTP endpoint with wrk and print one JSON line.

    http_load.py http://127.0.0.1:8000/mcp --sessions 16 --connections 16 --seconds 5

Opens SESSIONS sessions (protocol 2025-11-25), checks in each that echo answers, then CONNECTIONS keep-alive
connections call tools/call echo round robin over the sessions. Needs wrk (Debian package) and Python's standard
library. Loopback addresses only. Prints: rps, p50/p99 in ms, non-2xx answers, socket errors, and how long opening one
session took.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from typing import Any

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "load", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
ECHO = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hello"}}}
ANSWER_BYTES_MAX = 2**20
LUA = """
local ids = {%s}
local n = 0
local headers = {["Content-Type"]="application/json", ["Accept"]="application/json, text/event-stream",
                 ["MCP-Protocol-Version"]="2025-11-25"}
function request()
  n = n + 1
  headers["Mcp-Session-Id"] = ids[n %% #ids + 1]
  local body = '{"jsonrpc":"2.0","id":' .. (n + 10)
    .. ',"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
  return wrk.format("POST", nil, headers, body)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%%d,"seconds":%%.3f,"p50_ms":%%.3f,"p99_ms":%%.3f,"not_2xx":%%d,"socket_errors":%%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def post(url: str, message: dict[str, Any], session: str | None = None) -> tuple[str, bytes]:
    """Return the session the answer names, or '', and its body."""
    headers = dict(HEADERS, **({"Mcp-Session-Id": session} if session else {}))
    request = urllib.request.Request(url, json.dumps(message).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.headers["Mcp-Session-Id"] or "", reply.read(ANSWER_BYTES_MAX)


def open_session(url: str) -> str:
    """Return the id of a new session."""
    session, _ = post(url, INITIALIZE)
    post(url, INITIALIZED, session)
    return session


def check(url: str, session: str) -> None:
    """Leave when echo does not answer: errors answered with 200 would look fast."""
    _, body = post(url, ECHO, session)
    if b"hello" not in body:
        sys.exit(f"echo does not answer: {body[:200]!r}")


def drive(url: str, sessions: list[str], connections: int, seconds: int) -> dict[str, Any]:
    """Return what wrk measured."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % ",".join(f'"{session}"' for session in sessions))
        script.flush()
        size = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        run = subprocess.run(["wrk", *size, "-s", script.name, url], capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\{.*\})", run.stdout)
    if not found:
        sys.exit(run.stdout + run.stderr)
    figures: dict[str, Any] = json.loads(found.group(1))
    figures["rps"] = round(figures["requests"] / figures["seconds"], 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    if urllib.parse.urlparse(options.url).hostname not in ("127.0.0.1", "localhost", "::1"):
        sys.exit("only loopback addresses are driven")
    started = time.perf_counter()
    sessions = [open_session(options.url) for _ in range(options.sessions)]
    opened_ms = (time.perf_counter() - started) * 1000 / options.sessions
    for session in sessions:
        check(options.url, session)
    figures = drive(options.url, sessions, options.connections, options.seconds)
    print(json.dumps(figures | {"open_session_ms": round(opened_ms, 2)}))


if __name__ == "__main__":
    main()
