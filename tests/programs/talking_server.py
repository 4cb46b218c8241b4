"""An MCP server on the official SDK, whose tools use what clients are asked to handle."""

import asyncio
import os
import time
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

server = MCPServer("talking")
notes = Path(os.environ.get("HOLDFAST_SESSION_DIR", "."), "notes.txt")


class Name(BaseModel):
    """What a client is asked for."""

    name: str


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
async def count(upto: int, ctx: Context) -> str:
    """Count, telling each number as progress."""
    for number in range(1, upto + 1):
        await ctx.report_progress(number, upto)
    return f"counted to {upto}"


@server.tool()
async def greet(ctx: Context) -> str:
    """Ask for a name, then greet it."""
    answer = await ctx.elicit("What is your name?", Name)
    return f"hello {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def wait_for(path: str, ctx: Context) -> str:
    """Tell progress once, then wait until a file is there."""
    await ctx.report_progress(1)
    return await asyncio.to_thread(read_when_there, Path(path))


def read_when_there(path: Path) -> str:
    """Return the text of a file that somebody will write within a minute."""
    for _ in range(1200):
        if path.exists():
            return path.read_text()
        time.sleep(0.05)
    return "it never came"


@server.tool()
def remember(text: str) -> str:
    """Keep a text as long as the session lives."""
    notes.write_text(text)
    return "kept"


@server.tool()
def recall() -> str:
    """Return the text that was kept."""
    return notes.read_text()


@server.tool()
async def change(ctx: Context) -> str:
    """Tell that the list of tools has changed, which belongs to no call."""
    await ctx.session.send_tool_list_changed()
    return "told"


if __name__ == "__main__":
    server.run()
