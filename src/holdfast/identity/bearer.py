"""Bearer tokens: one header, and whoever can tell whose token it is."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Unauthenticated
from .contract import Principal, Verifier
from .rules import bearer_token, challenge


class BearerTokens:
    """An `Authenticator` that asks each verifier in turn; the last one says why a token is nobody's.

    `metadata_url` is where a client learns who gives out tokens, None when nobody does.
    Source: RFC 6750; MCP 2025-11-25, "Authorization".
    """

    def __init__(self, verifiers: Sequence[Verifier], metadata_url: str | None) -> None:
        self._verifiers = verifiers
        self._metadata_url = metadata_url

    async def identify(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None) -> Principal:
        token = bearer_token(headers)
        if token is None:
            said = challenge(self._metadata_url)
            raise Unauthenticated("send a token: Authorization: Bearer …", challenge=said)
        why = "it is not one bearer token"
        if token:
            for verifier in self._verifiers:
                found = await verifier.verify(token)
                if isinstance(found, Principal):
                    return found
                why = found
        said = challenge(self._metadata_url, why)
        raise Unauthenticated(f"the token is not accepted: {why}", challenge=said)
