"""The only place that chooses implementations: puts a server together from its settings."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .config import ServeSettings
from .gateway.keeper import KeeperWorkers
from .gateway.stdio import StdioUpstreams
from .model import Misused, SystemClock
from .runtime import shielded
from .sessions import SessionManager
from .stores.contract import Journal
from .stores.url import open_store
from .transport.host import Host
from .transport.pipeline import Edge
from .transport.places import Places

_log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What the server's doors need."""

    edge: Edge
    host: Host


@asynccontextmanager
async def assembled(settings: ServeSettings, places: Path) -> AsyncIterator[Parts]:
    """Open the store, start the keeper, and put the edge on top; take it all down in reverse."""
    clock = SystemClock()
    async with (
        open_store(settings.store) as store,
        KeeperWorkers.open(settings.keeper, settings.data) as workers,
    ):
        if not isinstance(store, Journal):
            raise Misused(f"--store {settings.store}: this store keeps no journal; use sqlite or memory")
        sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock)
        upstreams = StdioUpstreams(workers, settings.stdio)
        host = Host(
            sessions,
            store,
            upstreams,
            Places(places),
            clock,
            settings.sessions,
            pause=workers.pause,
            resume=workers.resume,
        )
        await host.start()
        try:
            yield Parts(Edge(host, store, settings.edge), host)
        finally:
            try:
                await shielded(host.stop(), within_s=30.0, name="stop the host")
            except TimeoutError as error:
                _log.error("what is left is killed: %s", error)
