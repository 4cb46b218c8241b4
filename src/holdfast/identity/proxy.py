"""A header that a proxy in front sets once it knows who asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from ..model import Unauthenticated
from .contract import Principal
from .rules import PROXY_ISSUER, is_subject

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
PEERS_MAX: Final = 1024
# RFC 9110 wants one with every 401. There is no scheme for a client to follow: it must go through the proxy.
CHALLENGE: Final = 'Bearer realm="the proxy in front of this server"'


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Which header names the user, in lower case, and the addresses of the proxies that may set it."""

    header: str
    proxies: tuple[Network, ...] = LOOPBACK


class ProxyHeader:
    """An `Authenticator` that believes a header of a trusted proxy, and nobody else's."""

    def __init__(self, settings: ProxySettings) -> None:
        self._header = settings.header.encode()
        self._proxies = settings.proxies
        self._is_trusted = lru_cache(maxsize=PEERS_MAX)(self._is_in_a_network)

    async def identify(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None) -> Principal:
        if peer is None or not self._is_trusted(peer):
            raise Unauthenticated("only a trusted proxy may ask; go through it", challenge=CHALLENGE)
        given = [value for name, value in headers if name == self._header]
        user = _text(given[0].strip()) if len(given) == 1 else ""
        if not is_subject(user):
            raise Unauthenticated("the proxy in front did not say, in one header, who asks", challenge=CHALLENGE)
        return Principal(PROXY_ISSUER, user)

    def _is_in_a_network(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # a socket that listens on :: shows IPv4 peers like this
        return any(address in network for network in self._proxies)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""
