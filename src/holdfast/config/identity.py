"""Turns option values into who may use the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..identity.jwks import JwtSettings
from ..identity.proxy import ProxySettings
from ..identity.rules import DEFAULT_ALGORITHMS
from ..identity.tokens import TokenSettings
from ..model import Misused


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """How whoever asks proves who that is; nobody has to when all are None. `public_url` is that of clients."""

    public_url: str | None = None
    tokens: TokenSettings | None = None
    jwt: JwtSettings | None = None
    proxy: ProxySettings | None = None

    @property
    def is_on(self) -> bool:
        """Whether anybody has to prove anything."""
        return not (self.tokens is None and self.jwt is None and self.proxy is None)


def identity_of(values: Mapping[str, Any]) -> IdentitySettings:
    """Return the settings for option values by name.

    Raises:
        Misused: One option wants another, or excludes it.
    """
    _go_together(values, "jwt-issuer", "jwt-audience")
    _needs(values, "jwt-jwks", "jwt-issuer")
    _needs(values, "jwt-algorithm", "jwt-issuer")
    _needs(values, "trust-proxy", "trust-header")
    tokens = jwt = proxy = None
    if values["token-file"] is not None:
        tokens = TokenSettings(Path(values["token-file"]).absolute())
    if values["jwt-issuer"] is not None:
        algorithms = tuple(values["jwt-algorithm"] or DEFAULT_ALGORITHMS)
        jwt = JwtSettings(values["jwt-issuer"], values["jwt-audience"], values["jwt-jwks"], algorithms)
    if values["trust-header"] is not None:
        if tokens is not None or jwt is not None:
            raise Misused("--trust-header leaves it to the proxy who asks; leave out --token-file and --jwt-issuer")
        trusted = values["trust-proxy"]
        proxy = ProxySettings(values["trust-header"], *([tuple(trusted)] if trusted else []))
    return IdentitySettings(values["public-url"], tokens, jwt, proxy)


def _go_together(values: Mapping[str, Any], one: str, other: str) -> None:
    _needs(values, one, other)
    _needs(values, other, one)


def _needs(values: Mapping[str, Any], one: str, other: str) -> None:
    if values[one] is not None and values[other] is None:
        raise Misused(f"--{one} wants --{other} too")
