"""The header of a trusted proxy, and of nobody else."""

from __future__ import annotations

import ipaddress

import pytest

from holdfast.identity import Principal
from holdfast.identity.proxy import ProxyHeader, ProxySettings
from holdfast.model import Unauthenticated

USER = b"x-forwarded-user"


def header_of(*networks: str) -> ProxyHeader:
    trusted = [tuple(ipaddress.ip_network(network) for network in networks)] if networks else []
    return ProxyHeader(ProxySettings(USER.decode(), *trusted))


@pytest.mark.parametrize(
    ("networks", "peer"),
    [
        ((), "127.0.0.1"),
        ((), "127.9.9.9"),
        ((), "::1"),
        ((), "::ffff:127.0.0.1"),
        (("10.0.0.0/8",), "10.1.2.3"),
        (("10.0.0.0/8",), "::ffff:10.1.2.3"),
        (("fd00::/8", "192.0.2.7"), "192.0.2.7"),
    ],
)
async def test_a_trusted_proxy_is_believed(networks: tuple[str, ...], peer: str) -> None:
    """R-SEC-1."""
    asked = header_of(*networks)
    assert await asked.identify([(USER, "jürgen@example.org".encode())], peer) == Principal(
        "proxy", "jürgen@example.org"
    )


@pytest.mark.parametrize(
    ("networks", "peer"),
    [
        ((), "192.0.2.7"),
        ((), "::ffff:192.0.2.7"),
        ((), None),
        ((), "a socket"),
        (("10.0.0.0/8",), "127.0.0.1"),
        (("10.0.0.0/8",), "11.0.0.1"),
    ],
)
async def test_anybody_else_is_not(networks: tuple[str, ...], peer: str | None) -> None:
    with pytest.raises(Unauthenticated, match="only a trusted proxy"):
        await header_of(*networks).identify([(USER, b"ann")], peer)


@pytest.mark.parametrize(
    "values", [[], [b""], [b"  "], [b"ann", b"ann"], [b"ann", b"eve"], [b"\xff"], [b"a\tb"], [b"x" * 256]]
)
async def test_the_header_names_one_user(values: list[bytes]) -> None:
    """What a client added before the proxy did must not count."""
    with pytest.raises(Unauthenticated, match="in one header"):
        await header_of().identify([(USER, value) for value in values], "127.0.0.1")
