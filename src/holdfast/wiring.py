"""The only place that chooses implementations: puts a server together from its settings."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .config import ServeSettings
from .gateway.keeper import KeeperWorkers
from .gateway.keeper_socket import connect_to_keeper
from .gateway.stdio import StdioUpstreams
from .identity.bearer import BearerTokens
from .identity.contract import Authenticator, Verifier
from .identity.proxy import ProxyHeader
from .identity.rules import resource_metadata
from .identity.tokens import TokenFile
from .model import Clock, Misused, SystemClock
from .runtime import shielded
from .sessions import Retention, SessionManager
from .stores.contract import Journal
from .stores.url import open_store
from .transport.health import Health
from .transport.host import Host
from .transport.pipeline import Edge
from .transport.places import Places
from .transport.public import PublicPages
from .transport.streams import Journaler

__all__ = ["Parts", "assembled", "connect_to_keeper"]

_log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What the server's doors need."""

    edge: Edge
    host: Host
    workers: KeeperWorkers


@asynccontextmanager
async def assembled(
    settings: ServeSettings, places: Path, base_url: str, *, beside: bool = False
) -> AsyncIterator[Parts]:
    """Open the store, start the keeper, and put the edge on top; take it all down in reverse.

    `base_url` is the address of the server for clients; `beside` another one that still opens sessions.
    """
    clock = SystemClock()
    async with (
        _identified(settings, base_url, clock) as (authenticator, public),
        open_store(settings.store, codec=settings.codec, clock=clock) as store,
        AsyncExitStack() as stack,
    ):
        if not isinstance(store, Journal):
            raise Misused(f"--store {settings.store}: this store keeps no journal; use sqlite or memory")
        term = await store.next_term()
        workers = await stack.enter_async_context(KeeperWorkers.open(settings.keeper, settings.data, term))
        # The host trims the journal.
        retention = Retention(journal=None)
        sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock, retention=retention)
        upstreams = StdioUpstreams(workers, settings.stdio)
        host = Host(
            sessions,
            store,
            Journaler(store, pause=workers.pause, resume=workers.resume),
            upstreams,
            Places(places),
            clock,
            settings.sessions,
            term=term,
        )
        health = Health({"store": partial(store.get, "readiness"), "keeper": workers.ready}, lambda: host.draining)
        await host.start(beside=beside)
        try:
            yield Parts(Edge(host, store, settings.edge, authenticator, public, health), host, workers)
        finally:
            try:
                await shielded(host.stop(), within_s=30.0, name="stop the host")
            except TimeoutError as error:
                _log.error("what is left is killed: %s", error)


@asynccontextmanager
async def _identified(
    settings: ServeSettings, base_url: str, clock: Clock
) -> AsyncIterator[tuple[Authenticator | None, PublicPages]]:
    """Give whoever tells who asks, None when nobody has to say, and what clients may read about it beforehand."""
    identity = settings.identity
    if not identity.is_on:
        yield None, PublicPages({})
        return
    if identity.proxy is not None:
        yield ProxyHeader(identity.proxy), PublicPages({})
        return
    metadata_url: str | None = None
    pages: dict[str, bytes] = {}
    verifiers: list[Verifier] = []
    async with AsyncExitStack() as stack:
        if identity.tokens is not None:
            verifiers.append(await stack.enter_async_context(TokenFile.open(identity.tokens)))
        if identity.jwt is not None:
            try:
                from .identity.jwt import JwtVerifier
            except ImportError as error:
                raise Misused(f"{error.name} is not installed; install holdfast with its extra `jwt`") from error
            verifiers.append(await stack.enter_async_context(JwtVerifier.open(identity.jwt, clock)))
            metadata_url, pages = resource_metadata(base_url, settings.edge.path, identity.jwt.issuer)
        yield BearerTokens(verifiers, metadata_url), PublicPages(pages)
