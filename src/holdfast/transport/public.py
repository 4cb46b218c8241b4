"""Documents that anyone may read, from any web page, without authentication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .asgi import Exchange
from .problems import Headers, Problem

# Nobody's secrets are in them, and a client in a browser reads them before it knows how to authenticate.
ANYWHERE: Final[Headers] = [(b"access-control-allow-origin", b"*")]
PREFLIGHT: Final[Headers] = [
    *ANYWHERE,
    (b"access-control-allow-methods", b"GET"),
    (b"access-control-allow-headers", b"*"),
]


class PublicPages:
    """JSON documents by path."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = pages

    async def serve(self, exchange: Exchange) -> bool:
        """Answer a request for one of the documents; return whether it was for one.

        Raises:
            Problem: 405, it wants to do something else than read it.
        """
        page = self._pages.get(exchange.path)
        if page is None:
            return False
        if exchange.method == "GET":
            await exchange.answer(200, ANYWHERE, page)
        elif exchange.method == "OPTIONS":
            await exchange.answer(204, PREFLIGHT)
        else:
            raise Problem(405, "this can only be read; use GET", headers=[(b"allow", b"GET, OPTIONS")])
        return True
