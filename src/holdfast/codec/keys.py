"""The keys that seal what is stored: a file of lines, the first of which is the one that is written with.

# newest first
2027-01 wkPvDgyf0bxM2cLYvRxSW4WVBjUB7kG3n0e2mO4UO6E=
2026-01 9vX7Yk0m2lEoFyoB8oQXhA0Jc4g3fB3Jm2kQy9xq0uM=
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..model.errors import Misused

KEY_BYTES: Final = 32
FILE_BYTES_MAX: Final = 2**16
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
_MAKE: Final = "write ID BASE64, where BASE64 is what `openssl rand -base64 32` prints"


class KeyRing:
    """Keys of 32 bytes by their ids, of which `current` seals and all open. Its repr shows no key.

    An id is 1 to 32 letters, digits, dots, dashes and underscores. It is stored in clear with what it sealed.
    """

    __slots__ = ("current", "keys")

    def __init__(self, keys: Mapping[str, bytes], *, current: str | None = None) -> None:
        """Take the keys; `current` is the first one by default.

        Raises:
            Misused: There is none, an id or a length is wrong, or `current` is not among them.
        """
        for key_id, key in keys.items():
            if not isinstance(key_id, str) or not _ID.fullmatch(key_id):
                raise Misused("the id of a key is 1 to 32 letters, digits, dots, dashes and underscores")
            if not isinstance(key, bytes) or len(key) != KEY_BYTES:
                raise Misused(f"key {key_id!r} is not {KEY_BYTES} bytes; {_MAKE}")
        first = next(iter(keys), None) if current is None else current
        if first is None or first not in keys:
            raise Misused("the key that is written with is not in the key ring; add it")
        self.keys: Mapping[str, bytes] = MappingProxyType(dict(keys))
        self.current: str = first

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.keys)}; current {self.current})"

    @classmethod
    def parse(cls, text: str, where: str) -> KeyRing:
        """Return the keys in lines of `ID BASE64`, the first of which is current; `#` begins a comment line.

        Raises:
            Misused: A line is wrong, an id or a key is there twice, or there is no key; it says which line of `where`,
                and nothing of a key.
        """
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or not _ID.fullmatch(words[0]):
                raise Misused(f"{where}, line {number}: {_MAKE}")
            key = _decoded(words[1])
            if key is None:
                raise Misused(f"{where}, line {number}: the key is not {KEY_BYTES} bytes in base64; {_MAKE}")
            if words[0] in keys or key in keys.values():
                raise Misused(f"{where}, line {number}: this id or this key is there already; keep one of them")
            keys[words[0]] = key
        if not keys:
            raise Misused(f"{where}: there is no key in it; {_MAKE}")
        return cls(keys)

    @classmethod
    def read(cls, path: str | Path, where: str = "the key file") -> KeyRing:
        """Return the keys in the file at `path`. Blocks.

        Raises:
            Misused: It cannot be read, others may read or write it, or what is in it is wrong.
        """
        where = f"{where} {path}"
        try:
            # Without O_NONBLOCK a pipe that nobody writes would be waited for.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
                    raise Misused(f"{where}: not a file of at most {FILE_BYTES_MAX} bytes")
                if found.st_mode & _OTHERS:
                    raise Misused(f"{where}: others on this machine may read or write it; run chmod 600 {path}")
                text = file.read(FILE_BYTES_MAX).decode()
        except OSError as error:
            raise Misused(f"{where}: it cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise Misused(f"{where}: it cannot be read: {error}") from error
        return cls.parse(text, where)


def _decoded(text: str) -> bytes | None:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None
