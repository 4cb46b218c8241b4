"""RocksDB, by rocksdict, as an engine of `OrderedStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..model.errors import Corrupt, HoldfastError, Misused
from .ordered_engine import BLOOM_BITS, BUFFER_BYTES, CACHE_BYTES, UNREADABLE, meaning
from .ordered_folder import in_use

KIND: Final = "rocksdb"
# Nothing is compressed: where a block says by what it is, that byte of it was changed.
_DAMAGED: Final = ("Corruption", "Not implemented: Unsupported compression")
_LOGS_KEPT: Final = 2


def driver() -> Callable[[Path], RocksDb]:
    """Return what opens a database at a folder that is ours.

    Raises:
        Misused: rocksdict is not installed.
    """
    try:
        import rocksdict
    except ImportError as error:
        raise Misused("rocksdb:// needs rocksdict, which is not installed; pip install 'holdfast[rocksdb]'") from error
    return lambda path: RocksDb(rocksdict, path)


def salvage(path: Path) -> None:
    """Make whole what can be read of a folder that cannot be opened or gone through. What was deleted may be back.

    Raises:
        Corrupt: Nothing can.
    """
    import rocksdict

    try:
        rocksdict.Rdict.repair(str(path), _options(rocksdict))
    except Exception as error:
        raise Corrupt(f"nothing of {path} can be read: {error}; restore it from a backup") from error


class RocksDb:
    """Implements `Engine`."""

    def __init__(self, rocksdict: Any, path: Path) -> None:
        self._rocksdict = rocksdict
        self._synced = rocksdict.WriteOptions()
        self._synced.sync = True
        self._quick = rocksdict.WriteOptions()
        self._checked = _reading(rocksdict, checked=True)
        self._unchecked = _reading(rocksdict, checked=False)
        with self._translated(path):
            self._db = rocksdict.Rdict(str(path), _options(rocksdict))

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key, None, self._checked)
        except Exception as error:
            meaning = self._meaning(error)
            if isinstance(meaning, Corrupt):
                return self._beside_damage(key)
            raise meaning from error
        return value

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        batch = self._rocksdict.WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        with self._translated():
            self._db.write(batch, self._synced if sync else self._quick)

    def iterate(self, start: bytes, stop: bytes, limit: int, *, reverse: bool = False) -> Sequence[tuple[bytes, bytes]]:
        with self._translated():
            if reverse:
                return self._backwards(start, stop, limit)
            found: list[tuple[bytes, bytes]] = []
            for row in islice(self._db.items(from_key=start, read_opt=self._unchecked), limit):
                if row[0] >= stop:
                    return found
                found.append(row)
            if len(found) < limit:
                # Its items end without a word also where it could not go on.
                rest = self._db.iter(self._unchecked)
                rest.seek(found[-1][0] if found else start)
                if found and rest.valid():
                    rest.next()
                rest.status()
        return found

    def _backwards(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        rows = self._db.iter(self._unchecked)
        rows.seek_for_prev(stop)
        if rows.valid() and rows.key() == stop:
            rows.prev()
        while len(found) < limit and rows.valid() and (key := rows.key()) >= start:
            found.append((key, rows.value()))
            rows.prev()
        rows.status()
        return found

    def moment(self) -> RocksMoment:
        with self._translated():
            return RocksMoment(self._db.iter(self._unchecked), self._translated)

    def close(self) -> None:
        db, self._db = self._db, None  # it lets its files go with the last reference, also when it cannot write them
        with self._translated():
            db.close()

    def _beside_damage(self, key: bytes) -> bytes:
        """Return a value in a block that is damaged somewhere. Its own checksum tells whether it is the value."""
        try:
            value: bytes | None = self._db.get(key, None, self._unchecked)
        except Exception:  # the driver has no errors of its own
            return UNREADABLE
        return UNREADABLE if value is None else value

    @contextmanager
    def _translated(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the driver has no errors of its own
            raise self._meaning(error, path) from error

    def _meaning(self, error: Exception, path: Path | None = None) -> HoldfastError:
        text = str(error)
        if path is not None and "lock" in text.lower():
            return in_use(path, KIND)
        return meaning(text, damaged=text.startswith(_DAMAGED))


class RocksMoment:
    """Implements `Moment` by one iterator, which sees what was there when it was made, wherever it seeks.

    The driver's own snapshots do not do: what they iterate is what is there now. For one thread at a time.
    """

    def __init__(self, rows: Any, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._rows = rows
        self._translated = translated

    def iterate(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        rows = self._rows
        found: list[tuple[bytes, bytes]] = []
        with self._translated():
            rows.seek(start)
            while len(found) < limit and rows.valid() and (key := rows.key()) < stop:
                found.append((key, rows.value()))
                rows.next()
            rows.status()
        return found

    def close(self) -> None:
        self._rows = None  # it is let go with the last reference


def _options(rocksdict: Any) -> Any:
    table = rocksdict.BlockBasedOptions()
    table.set_bloom_filter(BLOOM_BITS, False)
    table.set_block_cache(rocksdict.Cache(CACHE_BYTES))
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_compression_type(rocksdict.DBCompressionType.none())
    options.set_write_buffer_size(BUFFER_BYTES)
    options.set_block_based_table_factory(table)
    options.set_keep_log_file_num(_LOGS_KEPT)
    return options


def _reading(rocksdict: Any, *, checked: bool) -> Any:
    options = rocksdict.ReadOptions()
    options.set_verify_checksums(checked)
    return options
