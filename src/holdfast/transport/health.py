"""Pages for whoever watches the process: /healthz says that it runs, /readyz whether it can serve.

They are for load balancers and supervisors: any Host, nobody needs to authenticate, and nothing is told that a stranger
must not know. Why something fails stands in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from ..runtime import spawn
from .asgi import Exchange
from .problems import Headers, Problem

_log = logging.getLogger(__name__)

ALIVE_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"
KEPT_S: Final = 1.0
ANSWER_S_MAX: Final = 2.0
_FRESH: Final[Headers] = [(b"cache-control", b"no-store")]

Check = Callable[[], Awaitable[object]]


class Health:
    """Answers both pages. A check raises when what it looks at does not work; it may take its time."""

    def __init__(self, checks: Mapping[str, Check], draining: Callable[[], bool]) -> None:
        self._looks = [_Look(name, check) for name, check in checks.items()]
        self._draining = draining

    async def serve(self, exchange: Exchange) -> bool:
        """Answer a request for one of the pages within `ANSWER_S_MAX` seconds; return whether it was for one.

        Raises:
            Problem: 405, it wants to do something else than read it.
        """
        if exchange.path not in (ALIVE_PATH, READY_PATH):
            return False
        if exchange.method not in ("GET", "HEAD"):
            raise Problem(405, "this can only be read; use GET", headers=[(b"allow", b"GET, HEAD")])
        if exchange.path == ALIVE_PATH:
            await exchange.answer(200, _FRESH, b'{"alive":true}')
            return True
        failing = await self._failing()
        if failing:
            await exchange.answer(503, _FRESH, msgspec.json.encode({"ready": False, "failing": failing}))
        else:
            await exchange.answer(200, _FRESH, b'{"ready":true}')
        return True

    async def _failing(self) -> list[str]:
        if self._draining():
            return ["draining"]
        fails = await asyncio.gather(*(look.fails() for look in self._looks))
        return [look.name for look, failed in zip(self._looks, fails, strict=True) if failed]


class _Look:
    """One thing that is looked at: once at a time, and not again while the last look is younger than `KEPT_S`."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self._looking: asyncio.Task[bool] | None = None
        self._began_s = 0.0
        self._failed = False

    async def fails(self) -> bool:
        """Return whether it does not work, or has not said so within `ANSWER_S_MAX`."""
        now_s = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now_s - self._began_s >= KEPT_S):
            self._looking, self._began_s = spawn(self._look(), name=f"look at the {self.name}"), now_s
        looking = self._looking
        await asyncio.wait({looking}, timeout=self._began_s + ANSWER_S_MAX - now_s)
        return not looking.done() or looking.result()

    async def _look(self) -> bool:
        try:
            await self._check()
        except Exception as error:
            if not self._failed:
                _log.warning("not ready, the %s does not work: %s", self.name, error)
            self._failed = True
        else:
            if self._failed:
                _log.info("the %s works again", self.name)
            self._failed = False
        return self._failed
