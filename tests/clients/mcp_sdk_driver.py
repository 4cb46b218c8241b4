"""Drives the official Python client: python -m tests.clients.mcp_sdk_driver URL MODE"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal, cast

from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult, ErrorData

from .lines import NAME, commands, say


async def asked(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
    say(asked=params.message)
    return ElicitResult(action="accept", content={"name": NAME})


async def progressed(progress: float, total: float | None, message: str | None) -> None:
    say(progress=progress)


async def noticed(message: Any) -> None:
    method = getattr(message, "method", "notifications/progress")
    if method != "notifications/progress":  # which `progressed` tells
        say(noticed=method)


async def do(client: Client, command: dict[str, Any]) -> None:
    if command["do"] == "list":
        say(tools=[tool.name for tool in (await client.list_tools()).tools])
        return
    result = await client.call_tool(command["tool"], command["arguments"], progress_callback=progressed)
    text = " ".join(block.text for block in result.content if block.type == "text")
    say(**({"failed": text, "code": None} if result.is_error else {"answer": text}))


async def main(url: str, mode: Literal["auto", "legacy"]) -> None:
    async with Client(url, mode=mode, elicitation_callback=asked, message_handler=noticed) as client:
        say(connected=client.protocol_version)
        async for command in commands():
            if command["do"] == "close":
                return
            try:
                await do(client, command)
            except MCPError as error:
                say(failed=error.error.message, code=error.error.code)


asyncio.run(main(sys.argv[1], cast(Literal["auto", "legacy"], sys.argv[2])))
