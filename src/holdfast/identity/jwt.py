"""JSON Web Tokens of one issuer, checked against its published keys.

Source: RFC 7519; RFC 8725 (best practice); RFC 7515, 4.1.11 (`crit`).
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import jwt
import msgspec

from ..model import Clock, Misused
from .contract import Principal
from .jwks import IssuerKeys, JwtSettings
from .rules import LEEWAY_S, fits, keys_of, why_refused

_log = logging.getLogger(__name__)

KNOWN_MAX: Final = 10_000
TRIES_MAX: Final = 4
"""How many keys are tried for one token: an issuer may have several under one name, or give them none."""

_signatures: Final = jwt.PyJWS()


class Key(NamedTuple):
    """A public key, for one algorithm, under the name it has in the issuer's set."""

    name: str | None
    algorithm: str
    key: jwt.PyJWK


Keys: TypeAlias = tuple[Key, ...]


class _Known(NamedTuple):
    principal: Principal
    until: float


class JwtVerifier:
    """A `Verifier` of the tokens of one issuer.

    A token that was found good is known by its digest until it expires or the issuer's keys change.
    """

    def __init__(self, settings: JwtSettings, keys: IssuerKeys[Keys], clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._now = clock.now
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._known_by: Keys = ()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: JwtSettings, clock: Clock) -> AsyncIterator[JwtVerifier]:
        """Verify tokens as long as the block runs.

        Raises:
            Misused: What is installed cannot check these algorithms.
        """
        if missing := sorted(set(settings.algorithms) - set(_signatures.get_algorithms())):
            raise Misused(f"{', '.join(missing)} cannot be checked; install holdfast with its extra `jwt`")
        parse = partial(usable_keys, algorithms=settings.algorithms)
        async with IssuerKeys.open(settings, parse, clock) as keys:
            yield cls(settings, keys, clock)

    async def verify(self, token: str) -> Principal | str:
        now = self._now()
        keys = self._keys.kept(now)
        if keys is None:
            keys = await self._keys.current()
        if keys is not self._known_by:
            self._known.clear()
            self._known_by = keys
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and now < known.until:
            self._known.move_to_end(digest)
            return known.principal
        return await self._check(token, digest, keys)

    async def _check(self, token: str, digest: bytes, keys: Keys) -> Principal | str:
        try:
            header = _signatures.get_unverified_header(token)
        except jwt.InvalidTokenError:
            return "it is no JSON Web Token"
        algorithm, name = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            return "its algorithm is not accepted"
        if "crit" in header or "b64" in header:
            return "it demands what is not supported (crit)"
        candidates = _candidates(keys, algorithm, name)
        if not candidates:
            keys = await self._keys.with_unknown()
            candidates = _candidates(keys, algorithm, name)
        payload = _verified(token, candidates)
        if payload is None:
            return "no key of the issuer has signed it" if candidates else "its key (kid) is unknown"
        try:
            claims = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, RecursionError):
            return "its claims are no JSON object"
        why = why_refused(claims, self._settings.issuer, self._settings.audience, self._now())
        return why or self._remembered(digest, claims, keys)

    def _remembered(self, digest: bytes, claims: dict[str, Any], keys: Keys) -> Principal:
        principal = Principal(self._settings.issuer, claims["sub"])
        if keys is self._known_by:  # else they changed meanwhile, and what is known goes by the new ones
            self._known[digest] = _Known(principal, claims["exp"] + LEEWAY_S)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return principal


def usable_keys(body: bytes, algorithms: tuple[str, ...]) -> Keys:
    """Return the public keys of a JWK set, one for each algorithm it may be used with; others are left out.

    A key that is too short for its algorithm is of no use.

    Raises:
        Unavailable: It is no JWK set.
    """
    found = []
    for key in keys_of(body):
        name = key.get("kid")
        for algorithm in algorithms:
            if fits(key, algorithm) and (name is None or isinstance(name, str)):
                try:
                    made = jwt.PyJWK(key, algorithm)
                except jwt.PyJWTError as error:
                    _log.warning("a key of the issuer is left out: %s", type(error).__name__)
                    continue
                if weak := made.Algorithm.check_key_length(made.key):
                    _log.warning("a key of the issuer is left out: %s", weak)
                    continue
                found.append(Key(name, algorithm, made))
    if not found:
        _log.warning("the issuer has no key for %s", ", ".join(algorithms))
    return tuple(found)


def _candidates(keys: Keys, algorithm: str, name: str | None) -> Keys:
    """Return the keys that may have signed a token; all of its algorithm when it names none."""
    fitting = [key for key in keys if key.algorithm == algorithm and (name is None or key.name == name)]
    return tuple(fitting[:TRIES_MAX])


def _verified(token: str, candidates: Keys) -> bytes | None:
    for candidate in candidates:
        try:
            payload: bytes = _signatures.decode(token, candidate.key, algorithms=[candidate.algorithm])
        except jwt.PyJWTError:
            continue
        return payload
    return None
