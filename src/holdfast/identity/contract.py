"""Who asks: what an authenticator makes of a request before its body is read.

Source: MCP 2025-11-25, "Authorization"; RFC 6750; RFC 9728.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    async def identify(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None) -> Principal:
        """Return who sent a request with these headers, names in lower case, from the address `peer`.

        Raises:
            Unauthenticated: Nobody is known by them; `challenge` is the answer's WWW-Authenticate.
            Unavailable: It cannot be decided now, for instance because no key could be fetched.
        """
        ...


class Verifier(Protocol):
    """Tells whose a bearer token is."""

    async def verify(self, token: str) -> Principal | str:
        """Return whose token it is, or why it is nobody's: a few words of ASCII, fit for the client and for a log.

        Raises:
            Unavailable: It cannot be decided now.
        """
        ...
