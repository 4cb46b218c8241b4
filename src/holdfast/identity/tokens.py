"""Static tokens: a file of names and digests, read again when it changes."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ..model import HoldfastError, Misused
from ..runtime import Periodic
from .contract import Principal
from .rules import digest_of, read_token_lines

_log = logging.getLogger(__name__)

FILE_BYTES_MAX: Final = 2**20
LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Where the tokens are kept: lines of `NAME:SHA256`."""

    file: Path


class _Look(NamedTuple):
    """What tells one state of a file from another without reading it."""

    changed_ns: int
    size: int
    inode: int


class TokenFile:
    """A `Verifier` of the tokens in a file.

    A token is looked up by its digest, so how long that takes tells nothing about any other token.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._path = settings.file
        self._looked: _Look | None = None
        self._principals: dict[bytes, Principal] = {}
        self._said = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: TokenSettings) -> AsyncIterator[TokenFile]:
        """Read the file, and again within two seconds of every change, as long as the block runs.

        Raises:
            Misused: The file cannot be read, anybody may write it, or a line is wrong.
        """
        tokens = cls(settings)
        await tokens.look()
        periodic = Periodic("look at the token file", tokens.look_again, interval_s=LOOK_EVERY_S)
        periodic.start()
        try:
            yield tokens
        finally:
            await periodic.stop()

    async def verify(self, token: str) -> Principal | str:
        return self._principals.get(digest_of(token)) or "it is unknown or was revoked"

    async def look(self) -> None:
        """Read the file if it has changed.

        After an error nobody new is let in, and whoever a file with a wrong line does not name any more is out.

        Raises:
            Misused: The file cannot be read, anybody may write it, or a line is wrong.
        """
        looked, text = await asyncio.to_thread(_read_if_changed, self._path, self._looked)
        if text is None:
            return
        self._looked = looked
        try:
            self._principals = read_token_lines(text, f"--token-file {self._path}")
        except Misused:
            named = text.lower()
            self._principals = {at: who for at, who in self._principals.items() if at.hex() in named}
            raise
        _log.info("%d tokens are known", len(self._principals))

    async def look_again(self) -> None:
        """Read the file if it has changed, and log once what is wrong with it."""
        try:
            await self.look()
        except HoldfastError as error:
            if str(error) != self._said:
                self._said = str(error)
                _log.error("%s; until then no new token is known", error)
        else:
            self._said = ""


def _read_if_changed(path: Path, before: _Look | None) -> tuple[_Look, str | None]:
    try:
        # Without O_NONBLOCK a pipe that nobody writes would be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            looked = _Look(found.st_ctime_ns, found.st_size, found.st_ino)
            if looked == before:
                return looked, None
            if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
                raise Misused(f"--token-file {path}: not a file of at most {FILE_BYTES_MAX} bytes")
            text = file.read(FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"--token-file {path}: it cannot be read: {error}") from error
    if found.st_mode & stat.S_IWOTH:
        raise Misused(f"--token-file {path}: anybody on this machine may write it; run chmod 600 {path}")
    if found.st_mode & stat.S_IROTH:
        _log.warning("--token-file %s: anybody on this machine may read it; run chmod 600 %s", path, path)
    return looked, text
