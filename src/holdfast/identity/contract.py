"""Who asks: what an authenticator makes of the headers of a request.

Source: MCP 2025-11-25, "Authorization"; RFC 6750; RFC 9728.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """Somebody as an issuer knows them. Not a token: a refreshed token names the same principal."""

    issuer: str
    subject: str

    @property
    def owner(self) -> str:
        """What a session's record holds as its owner; two principals never have the same."""
        return msgspec.json.encode((self.issuer, self.subject)).decode()


class Authenticator(Protocol):
    """Tells who sent a request."""

    async def identify(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Return who sent a request with these headers (names in lower case).

        Raises:
            Unauthenticated: Nobody is known by them; `challenge` is the answer's WWW-Authenticate.
            Unavailable: It cannot be decided now, for instance because no key could be fetched.
        """
        ...
