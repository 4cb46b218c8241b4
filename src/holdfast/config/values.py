"""Reads the values that options have: durations, sizes, numbers, choices."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from ..model import Misused
from ..model.urls import secure_url, split_url

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES: Final = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def duration_s(text: str) -> float:
    """Return the seconds that `500ms`, `90s`, `30m`, `1h` or `7d` means; 0 needs no unit."""
    if text.strip() == "0":
        return 0.0
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS_S or not math.isfinite(float(match[1])):
        raise Misused(f"{text!r} is not a duration; write 500ms, 90s, 30m, 1h or 7d")
    return float(match[1]) * _UNITS_S[match[2]]


def lifetime_s(text: str) -> float | None:
    """Return a duration, or None for `never`."""
    return None if text.strip().lower() == "never" else duration_s(text)


def size_bytes(text: str) -> int:
    """Return the bytes that `512KiB`, `10MiB`, `4GiB` or a plain number means."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS_BYTES:
        raise Misused(f"{text!r} is not a size; write 512KiB, 10MiB or 4GiB")
    return int(float(match[1]) * _UNITS_BYTES[match[2]])


def patience_s(text: str) -> float | None:
    """Return a duration of a tenth of a second at least, or None for `never`."""
    wait_s = lifetime_s(text)
    if wait_s is not None and wait_s < 0.1:
        raise Misused(f"{text!r} is too short; write 100ms or more, or never")
    return wait_s


def frame_bytes(text: str) -> int:
    """Return a size that one message may have: from a KiB, which any handshake fits in, to what the keeper relays."""
    size = size_bytes(text)
    if not 2**10 <= size <= 60 * 2**20:
        raise Misused(f"{text!r} is not a size from 1KiB to 60MiB")
    return size


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()) or not least <= int(text) <= most:
            raise Misused(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def choice(*allowed: str) -> Callable[[str], str]:
    """Return a reader of one of a few words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise Misused(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return read


def url_path(text: str) -> str:
    """Return a path that begins with a slash."""
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", text):
        raise Misused(f"{text!r} is not a URL path; write for example /mcp")
    return text


def base_url(text: str) -> str:
    """Return the address of a server without a slash at its end."""
    if split_url(text).query:
        raise Misused(f"{text!r} has a query; leave it out")
    return text.rstrip("/")


def key_place(text: str) -> str:
    """Return a URL, or the full path of a file."""
    return secure_url(text) if "://" in text else str(Path(plain(text)).absolute())


def header_name(text: str) -> str:
    """Return the name of an HTTP header in lower case."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", text):
        raise Misused(f"{text!r} is not the name of a header; write for example X-Forwarded-User")
    return text.lower()


def network(text: str) -> Network:
    """Return the network that an address, or one with the length of its prefix, means."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise Misused(f"{text!r} is not an address or a network; write for example 10.1.2.3 or 10.0.0.0/8") from error


def plain(text: str) -> str:
    """Return the text as it is, refusing an empty one."""
    if not text:
        raise Misused("an empty value; leave the option out to get its default")
    return text
