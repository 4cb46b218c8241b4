"""Addresses of the web: taken apart, and checked for whose answer they promise."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from .errors import Misused

URL_BYTES_MAX: Final = 500

_URL: Final = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::([0-9]{1,5}))?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)


class Url(NamedTuple):
    """An address in parts, each as it was written; `path` and `query` are "" or begin with their mark."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: str

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port."""
        return self.host if self.port is None else f"{self.host}:{self.port}"


def split_url(text: str) -> Url:
    """Return the parts of an address of http or https, without user and fragment.

    Raises:
        Misused: It is none, or has over 500 bytes.
    """
    match = _URL.fullmatch(text) if len(text) <= URL_BYTES_MAX else None
    if match is None or not 0 <= int(match[3] or 0) <= 65535:
        raise Misused(f"{text[:URL_BYTES_MAX]!r} is not a URL; write for example https://issuer.example")
    return Url(match[1], match[2], int(match[3]) if match[3] else None, match[4] or "", match[5] or "")


def secure_url(text: str) -> str:
    """Return an address at which nobody on the way can answer: https, or http on loopback.

    Raises:
        Misused: It is no such address.
    """
    url = split_url(text)
    if url.scheme == "http" and not is_loopback(url.host.strip("[]")):
        raise Misused(f"{text!r}: over http anybody on the way could answer; write https://")
    return text


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine under one of its own names."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
