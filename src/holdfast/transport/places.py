"""The folders of the sessions: made before the first worker starts, removed when the session is gone."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..model import Unavailable


class Places:
    """The folders below one directory, each named so that it does not give its session's id away.

    A folder holds `work`, the working directory of the session's workers, and what they wrote to stderr.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, session_id: str) -> Path:
        """Return the folder of a session, whether it is there or not."""
        return self._root / hashlib.sha256(session_id.encode()).hexdigest()[:32]

    async def make(self, place: Path) -> None:
        """Make a session's folder unless it is there.

        Raises:
            Unavailable: The file system refuses.
        """
        try:
            await asyncio.to_thread((place / "work").mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"the folder of a session cannot be made: {error.strerror}") from error

    async def remove(self, place: Path) -> None:
        """Remove a session's folder and all in it; what cannot be removed stays."""
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def remove_all_but(self, session_ids: Iterable[str]) -> None:
        """Remove what a server killed between the end of a session and the removal of its folder left behind."""
        await asyncio.to_thread(self._remove_all_but, list(session_ids))

    def _remove_all_but(self, session_ids: list[str]) -> None:
        kept = {self.of(session_id) for session_id in session_ids}
        for place in self._root.iterdir():
            if place not in kept:
                shutil.rmtree(place, ignore_errors=True)
