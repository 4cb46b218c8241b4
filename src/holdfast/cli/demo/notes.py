"""The MCP server of the demo: a notebook over stdio, on the standard library alone, so that it starts at once.

It is run as a file and knows nothing of Holdfast: the notes are a file in its working directory, which Holdfast keeps
for as long as the session lives. Source: MCP 2025-11-25, "Transports: stdio".
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

NOTES: Final = Path("notes.json")
TEXT: Final = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
SECONDS: Final = {"type": "object", "properties": {"seconds": {"type": "integer"}}, "required": ["seconds"]}
NOTHING: Final = {"type": "object"}
TOOLS: Final = [
    {"name": "remember", "description": "Keep a note.", "inputSchema": TEXT},
    {"name": "recall", "description": "Return all notes, and which process answers.", "inputSchema": NOTHING},
    {"name": "count", "description": "Count the calls, in this process's memory.", "inputSchema": NOTHING},
    {"name": "think", "description": "Take some seconds and tell the progress.", "inputSchema": SECONDS},
]
COUNTER: Final = itertools.count(1)


def main() -> None:
    """Answer one message a line until stdin ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            say({"id": message["id"], **answer(message["method"], message.get("params") or {})})


def say(message: dict[str, Any]) -> None:
    """Write one message."""
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the result or the error that answers a request."""
    if method == "initialize":
        server = {"name": "holdfast-demo", "version": "1"}
        version = params["protocolVersion"]
        return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}}
    if method == "ping":
        return {"result": {}}
    if method == "tools/list":
        return {"result": {"tools": TOOLS}}
    if method != "tools/call" or params.get("name") not in CALLS:
        return {"error": {"code": -32601, "message": f"{method}: there is no such method or tool"}}
    text, data = CALLS[params["name"]](params.get("arguments") or {}, params.get("_meta") or {})
    return {"result": {"content": [{"type": "text", "text": text}], "structuredContent": data}}


def remember(arguments: dict[str, Any], meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Write a note to the disk before saying so."""
    notes = [*read(), arguments["text"]]
    fresh = NOTES.with_suffix(".new")
    fresh.write_text(json.dumps(notes))
    fresh.replace(NOTES)
    return f"note {len(notes)} is kept", {"notes": notes, "pid": os.getpid()}


def recall(arguments: dict[str, Any], meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what is on the disk."""
    notes = read()
    return "\n".join(notes), {"notes": notes, "pid": os.getpid()}


def count(arguments: dict[str, Any], meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return how often this was called since the process began; nothing of it is on the disk."""
    told = next(COUNTER)
    return str(told), {"count": told, "pid": os.getpid()}


def think(arguments: dict[str, Any], meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Let time pass, and tell whoever asked for progress."""
    seconds = arguments["seconds"]
    for second in range(seconds):
        if "progressToken" in meta:
            progress = {"progressToken": meta["progressToken"], "progress": second, "total": seconds}
            say({"method": "notifications/progress", "params": progress})
        time.sleep(1)
    return f"thought for {seconds} s", {"pid": os.getpid()}


def read() -> list[str]:
    """Return the notes; there are none as long as there is no file."""
    return list(json.loads(NOTES.read_text())) if NOTES.exists() else []


CALLS: Final = {"remember": remember, "recall": recall, "count": count, "think": think}

if __name__ == "__main__":
    main()
