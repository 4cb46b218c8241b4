"""Drives FastMCP's client: python -m tests.clients.fastmcp_driver URL"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.messages import MessageHandler
from fastmcp.exceptions import ToolError
from mcp import MCPError

from .lines import NAME, commands, say


async def asked(message: str, response_type: Any, params: Any, context: Any) -> Any:
    say(asked=message)
    return {"name": NAME}


async def progressed(progress: float, total: float | None, message: str | None) -> None:
    say(progress=progress)


class Noticing(MessageHandler):
    """Says what belongs to no call."""

    async def on_tool_list_changed(self, message: Any) -> None:
        say(noticed=message.method)


async def do(client: Client[Any], command: dict[str, Any]) -> None:
    if command["do"] == "list":
        say(tools=[tool.name for tool in await client.list_tools()])
        return
    result = await client.call_tool(command["tool"], command["arguments"], progress_handler=progressed)
    say(answer=" ".join(block.text for block in result.content if block.type == "text"))


async def main(url: str) -> None:
    async with Client(url, elicitation_handler=asked, message_handler=Noticing()) as client:
        result = client.initialize_result
        say(connected=result.protocol_version if result is not None else None)
        async for command in commands():
            if command["do"] == "close":
                return
            try:
                await do(client, command)
            except MCPError as error:
                say(failed=error.error.message, code=error.error.code)
            except ToolError as error:
                say(failed=str(error), code=None)


asyncio.run(main(sys.argv[1]))
