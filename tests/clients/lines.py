"""How a driver talks with the test that drives it: a JSON object a line, both ways.

Each driver connects one client, says `{"connected": PROTOCOL}`, and then does what it is told, one command at a time:
`list`, `call` (with `tool` and `arguments`) and `close`. What the client hears meanwhile is said as it comes:
`progress`, `asked` (a question, which it answers with the name Ada) and `noticed` (a message that belongs to no call).
A command ends with `tools`, `answer`, or `failed` and a `code`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

NAME: Final = "Ada"


def say(**words: Any) -> None:
    """Tell the test."""
    print(json.dumps(words), flush=True)


async def commands() -> AsyncIterator[dict[str, Any]]:
    """Yield what the test says, until it says no more."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)
