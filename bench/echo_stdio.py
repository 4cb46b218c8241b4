#!/usr/bin/env python3
"""The cheapest honest stdio MCP server: standard library only, so that what is measured is what stands in front of it.

Tools: echo(text), count() (state kept in this process), sleep(seconds).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

NOTHING: dict[str, Any] = {"type": "object"}
TOOLS = [
    {
        "name": "echo",
        "description": "Return the text.",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
    {"name": "count", "description": "Count the calls of this session.", "inputSchema": NOTHING},
    {
        "name": "sleep",
        "description": "Wait, then return.",
        "inputSchema": {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]},
    },
]


class Echo:
    """One session."""

    def __init__(self) -> None:
        self.calls = 0

    def result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "initialize":
            return {
                "protocolVersion": params.get("protocolVersion", "2025-11-25"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }
        if method == "tools/list":
            return {"tools": TOOLS}
        if method == "tools/call":
            text = self.call(params["name"], params.get("arguments") or {})
            return {"content": [{"type": "text", "text": text}], "isError": False}
        return {}

    def call(self, tool: str, arguments: dict[str, Any]) -> str:
        if tool == "echo":
            return str(arguments["text"])
        if tool == "count":
            self.calls += 1
            return str(self.calls)
        time.sleep(float(arguments["seconds"]))
        return "awake"


def main() -> None:
    session = Echo()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            result = session.result(message["method"], message.get("params") or {})
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
