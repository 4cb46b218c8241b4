"""Backups again and again into one folder, of which some are kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ..codec import PLAIN, Codec
from ..model.clock import Clock
from ..model.errors import HoldfastError, Misused, Unavailable
from ..runtime import Periodic
from . import rules
from .backup import Made, check
from .files import nobody_writes

KEEP_MAX: Final = 10_000
EVERY_S_MIN: Final = 1.0

_log = logging.getLogger(__name__)


def checked_every_s(every_s: float) -> float:
    """Return how often backups are made, or raise `Misused` when that is more often than every second."""
    if not every_s >= EVERY_S_MIN:
        raise Misused(f"every {every_s:g} s is too often; backups are made every second at most")
    return every_s


class Schedule:
    """Makes backups in `folder` by `take`, which writes one to a path, and keeps the newest `keep` of them.

    Each is named by the time (`holdfast-20261128T120000Z.hfa`) and read again, with `codec`, before any other goes.
    Files of other names are never touched; when a backup fails, nothing is deleted, and it is logged.
    """

    def __init__(
        self,
        take: Callable[[Path], Awaitable[Made]],
        folder: Path,
        *,
        keep: int,
        clock: Clock,
        codec: Codec = PLAIN,
        told: Callable[[Made], object] | None = None,
    ) -> None:
        if not 1 <= keep <= KEEP_MAX:
            raise Misused(f"keep={keep}: from 1 to {KEEP_MAX:,} backups are kept")
        self._take = take
        self._folder = folder
        self._keep = keep
        self._clock = clock
        self._codec = codec
        self._told = told
        self._periodic: Periodic | None = None

    async def run(self) -> Made:
        """Make one now, read it again, and delete what is beyond the bound.

        Raises:
            Misused, Unavailable, Corrupt: As `back_up`. Nothing was deleted.
        """
        target = await asyncio.to_thread(self._free_target)
        made = await self._take(target)
        file = await asyncio.to_thread(target.open, "rb")
        try:
            await check(file, str(target), self._codec)
        finally:
            await asyncio.to_thread(file.close)
        await asyncio.to_thread(self._delete_beyond, target.name)
        if self._told is not None:
            self._told(made)
        return made

    def start(self, every_s: float) -> None:
        """Make one every so many seconds from now on, the first after that time.

        Raises:
            Misused: It is less than a second.
        """
        checked_every_s(every_s)
        if self._periodic is None:
            self._periodic = Periodic("make a backup", self._run_and_log, interval_s=every_s)
            self._periodic.start()

    async def stop(self) -> None:
        """Make no more. One that is being made is given up, and nothing is left of it."""
        if self._periodic is not None:
            await self._periodic.stop()
            self._periodic = None

    async def _run_and_log(self) -> None:
        try:
            await self.run()
        except HoldfastError as error:
            _log.error("no backup was made this time: %s", error)

    def _free_target(self) -> Path:
        if not self._folder.is_dir():
            raise Misused(f"{self._folder} is no folder; make it, or choose another one")
        name = rules.name_at(self._clock.now())
        for number in range(1000):
            target = self._folder / f"{name}{f'-{number}' if number else ''}{rules.SUFFIX}"
            if not target.exists():
                return target
        raise Misused(f"{self._folder} has 1,000 backups of this second; wait")

    def _delete_beyond(self, newest: str) -> None:
        """Delete what is too old, and what somebody who was killed left half written."""
        try:
            names = [path.name for path in self._folder.iterdir() if path.is_file() and not path.is_symlink()]
            for name in rules.beyond(names, newest, self._keep):
                (self._folder / name).unlink(missing_ok=True)
            for name in filter(rules.is_part, names):
                if nobody_writes(self._folder / name):
                    (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"older backups in {self._folder} could not be deleted: {error.strerror}") from error
