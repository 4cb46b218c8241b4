"""The keys of an issuer: fetched, kept, fetched again before they are old and when a token names another one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from ..model import Clock, HoldfastError, Unavailable
from ..runtime import Periodic, spawn
from .fetch import fetched, read
from .rules import DEFAULT_ALGORITHMS, issuer_metadata_urls, jwks_url_in

K = TypeVar("K")

_log = logging.getLogger(__name__)

FETCH_EVERY_S: Final = 300.0
FETCH_WITHIN_S: Final = 10.0
UNKNOWN_KEY_S: Final = 30.0
NO_KEYS_S: Final = 2.0
OFFLINE_S_MAX: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Whose tokens are accepted, for which audience, signed how.

    `jwks` is the address of the issuer's keys or the path of a file of them; without it the issuer's metadata say.
    """

    issuer: str
    audience: str
    jwks: str | None = None
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS


class IssuerKeys(Generic[K]):
    """The keys of one issuer as `parse` makes them of a JWK set. One fetch runs at a time, whoever asks for it.

    A fetch that fails changes nothing; the last keys serve for a day. `current` is the same object until they change.
    """

    def __init__(self, settings: JwtSettings, parse: Callable[[bytes], K], clock: Clock) -> None:
        self._settings = settings
        self._parse = parse
        self._now = clock.now
        self._body = b""
        self._keys: K | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._said = ""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: JwtSettings, parse: Callable[[bytes], K], clock: Clock
    ) -> AsyncIterator[IssuerKeys[K]]:
        """Fetch the keys now and every five minutes as long as the block runs, waiting for none of it."""
        keys = cls(settings, parse, clock)
        periodic = Periodic("fetch the keys of the issuer", keys.fetch, interval_s=FETCH_EVERY_S)
        periodic.start()
        keys._begin()
        try:
            yield keys
        finally:
            await periodic.stop()
            if keys._fetching is not None:
                keys._fetching.cancel()
                await asyncio.wait({keys._fetching})

    def kept(self, now: float) -> K | None:
        """Return the keys as of `now`, None when there are none that are less than a day old."""
        return self._keys if now - self._fetched_at <= OFFLINE_S_MAX else None

    async def current(self) -> K:
        """Return the keys, waiting for a fetch when there are none.

        Raises:
            Unavailable: There are none that are less than a day old.
        """
        keys = self.kept(self._now())
        if keys is None:
            await self._fetch_unless_tried(NO_KEYS_S)
            keys = self.kept(self._now())
        if keys is None:
            raise Unavailable("tokens cannot be checked now: the keys of their issuer are not known; try again")
        return keys

    async def with_unknown(self) -> K:
        """Return the keys after a look whether there are others by now, which is taken every 30 seconds at most.

        Raises:
            Unavailable: There are none that are less than a day old.
        """
        await self._fetch_unless_tried(UNKNOWN_KEY_S)
        return await self.current()

    async def fetch(self) -> None:
        """Fetch the keys, or wait for the fetch that runs."""
        await asyncio.shield(self._begin())

    async def _fetch_unless_tried(self, within_s: float) -> None:
        if self._fetching is not None or self._now() - self._tried_at >= within_s:
            await self.fetch()

    def _begin(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = self._now()
            self._fetching = spawn(self._fetch(), name="fetch the keys of an issuer")
            self._fetching.add_done_callback(self._ended)
        return self._fetching

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_WITHIN_S):
                body = await self._jwks()
            if self._keys is None or body != self._body:
                self._keys = self._parse(body)
                self._body = body
                _log.info("the keys of %s are known", self._settings.issuer)
        except (HoldfastError, TimeoutError) as error:
            why = str(error) or f"no answer within {FETCH_WITHIN_S:g} s"
            if why != self._said:  # once, however many clients make us try again
                _log.error("the keys of %s could not be fetched: %s", self._settings.issuer, why)
            self._said = why
        else:
            self._fetched_at = self._now()
            self._said = ""

    async def _jwks(self) -> bytes:
        place = self._settings.jwks
        if place is None:
            place = await self._discovered()
        elif "://" not in place:
            return await read(Path(place))
        return await fetched(place)

    async def _discovered(self) -> str:
        first, second = issuer_metadata_urls(self._settings.issuer)
        try:
            body = await fetched(first)
        except Unavailable as error:
            try:
                body = await fetched(second)
            except Unavailable as another:
                raise Unavailable(f"{error}; {another}; name them with --jwt-jwks") from another
        return jwks_url_in(body, self._settings.issuer)
