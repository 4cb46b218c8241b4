"""Moments that no client sees: what workers say through a pipe, and commits of the store."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .plan import COMMITTED
from .world import World

LOOK_EVERY_S: Final = 0.0001
CHANGES_AT: Final = slice(8, 12)
"""Where the WAL-index counts transactions (sqlite.org/walformat.html, "WAL-Index Header", iChange)."""
_END: Final = "end"


class Marks:
    """Waits for any moment of a run."""

    def __init__(self, world: World, data: Path) -> None:
        self._world = world
        self._data = data

    def wait(self, moment: str, nth: int, within_s: float) -> bool:
        """Return once a moment has come `nth` times more, or False after `within_s` seconds."""
        if moment != COMMITTED:
            return self._world.wait_noted(moment, nth, within_s)
        last = time.monotonic() + within_s
        with self._index() as index:
            seen = index[CHANGES_AT]
            while nth and time.monotonic() < last:
                if index[CHANGES_AT] != seen:
                    seen, nth = index[CHANGES_AT], nth - 1
                else:
                    threading.Event().wait(LOOK_EVERY_S)
        return not nth

    @contextmanager
    def _index(self) -> Iterator[mmap.mmap]:
        with (
            next(self._data.glob("*.db-shm")).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as index,
        ):
            yield index


@contextmanager
def marks(world: World, data: Path, pipe: Path) -> Iterator[Marks]:
    """Note in the world what workers write to `pipe`, which is made."""
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)  # both ends, so that it is never at its end
    reader = threading.Thread(target=_read, args=(end, world), daemon=True)
    reader.start()
    try:
        yield Marks(world, data)
    finally:
        os.write(end, f"{_END}\n".encode())
        reader.join()
        os.close(end)


def _read(pipe: int, world: World) -> None:
    with os.fdopen(pipe, "r", closefd=False) as lines:
        for line in lines:
            if line.strip() == _END:
                return
            world.note(line.strip())
