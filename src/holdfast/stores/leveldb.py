"""LevelDB, by plyvel, as an engine of `OrderedStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..model.errors import Corrupt, HoldfastError, Misused
from .ordered_engine import BLOOM_BITS, BUFFER_BYTES, CACHE_BYTES, UNREADABLE, meaning
from .ordered_folder import in_use

KIND: Final = "leveldb"


def driver() -> Callable[[Path], LevelDb]:
    """Return what opens a database at a folder that is ours.

    Raises:
        Misused: plyvel is not installed.
    """
    try:
        import plyvel  # type: ignore[import-untyped,import-not-found,unused-ignore]  # it has no types, and is not there on every Python
    except ImportError as error:
        raise Misused(
            "leveldb:// needs plyvel, which is not installed (it has no wheels for Python 3.13 and later); "
            "pip install 'holdfast[leveldb]', or use rocksdb://"
        ) from error
    return lambda path: LevelDb(plyvel, path)


def salvage(path: Path) -> None:
    """Make whole what can be read of a folder that cannot be opened or gone through. What was deleted may be back.

    Raises:
        Corrupt: Nothing can.
    """
    import plyvel

    try:
        plyvel.repair_db(str(path), paranoid_checks=False, compression=None)
    except Exception as error:
        raise Corrupt(f"nothing of {path} can be read: {error}; restore it from a backup") from error


class LevelDb:
    """Implements `Engine`."""

    def __init__(self, plyvel: Any, path: Path) -> None:
        self._plyvel = plyvel
        with self._translated(path):
            self._db = plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                compression=None,
                write_buffer_size=BUFFER_BYTES,
                lru_cache_size=CACHE_BYTES,
                bloom_filter_bits=BLOOM_BITS,
            )

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except self._plyvel.CorruptionError:
            return self._beside_damage(key)
        except Exception as error:
            raise self._meaning(error) from error
        return value

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        with self._translated():
            batch = self._db.write_batch(sync=sync)
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            batch.write()

    def iterate(self, start: bytes, stop: bytes, limit: int, *, reverse: bool = False) -> Sequence[tuple[bytes, bytes]]:
        with self._translated(), self._db.iterator(start=start, stop=stop, reverse=reverse) as found:
            return list(islice(found, limit))

    def moment(self) -> LevelDb:
        with self._translated():
            then = copy(self)  # a snapshot reads as a database does
            then._db = self._db.snapshot()
        return then

    def close(self) -> None:
        with self._translated():
            self._db.close()

    def _beside_damage(self, key: bytes) -> bytes:
        """Return a value in a block that is damaged somewhere. Its own checksum tells whether it is the value."""
        try:
            value: bytes | None = self._db.get(key, verify_checksums=False)
        except self._plyvel.Error:
            return UNREADABLE
        return UNREADABLE if value is None else value

    @contextmanager
    def _translated(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise self._meaning(error, path) from error

    def _meaning(self, error: Exception, path: Path | None = None) -> HoldfastError:
        first = error.args[0] if error.args else ""
        text = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
        if path is not None and "lock" in text.lower():
            return in_use(path, KIND)
        return meaning(text, damaged=isinstance(error, self._plyvel.CorruptionError))
