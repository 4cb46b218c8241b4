"""A notebook for each session, on the official SDK: an MCP server like any other, and nothing in it knows of Holdfast.

    holdfast serve -- python examples/notes_server.py

Notes are files in the session's own folder (HOLDFAST_SESSION_DIR), so they live as long as the session does;
`calls` is kept in memory, so it lives as long as the process.
"""

import asyncio
import os
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("notes")
folder = Path(os.environ.get("HOLDFAST_SESSION_DIR", "."))
calls = 0


@server.tool()
def add_note(text: str) -> str:
    """Write a note down."""
    global calls
    calls += 1
    number = len(list(folder.glob("note-*.txt"))) + 1
    (folder / f"note-{number:04}.txt").write_text(text)
    return f"note {number} written"


@server.tool()
def list_notes() -> list[str]:
    """Return all notes of this session."""
    global calls
    calls += 1
    return [path.read_text() for path in sorted(folder.glob("note-*.txt"))]


@server.tool()
def count_calls() -> int:
    """Return how many calls this process has answered."""
    return calls


@server.tool()
async def think(seconds: int, ctx: Context) -> str:
    """Think for some seconds, telling the progress."""
    for second in range(seconds):
        await ctx.report_progress(second, seconds, f"thinking, second {second + 1}")
        await asyncio.sleep(1)
    return f"thought for {seconds} s"


if __name__ == "__main__":
    server.run()
