"""What an ordered key-value engine does for `OrderedStore`, and how acts that wait together become one write of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from ..model.errors import Corrupt, HoldfastError, Unavailable
from ..model.session import Record
from .lane import Act
from .ordered_keys import SESSION
from .ordered_recent import Recent

T = TypeVar("T")

UNREADABLE: Final = b""
"""Stands for a value that is there and cannot be read. No value that is checked is empty, so it counts as damaged."""

BUFFER_BYTES: Final = 32 * 2**20
CACHE_BYTES: Final = 32 * 2**20
BLOOM_BITS: Final = 10


class Engine(Protocol):
    """An open database of bytes in the order of bytes. Blocks; may be used by several threads until it is closed.

    Every method raises `Unavailable` (the outcome is unknown) or `Corrupt` (it is damaged) instead of its driver's
    errors.

    Nothing is compressed, so that a changed byte damages one value and not the block around it. What was written last
    before a power failure and not synced may be cut off; any other damage of the log keeps the database from opening,
    for the alternative is to lose what lies behind it without a word.
    """

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None when there is none, or `UNREADABLE`. What lies beside damage is still read."""
        ...

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        """Write all of `changes` (None: the key goes) or nothing of it.

        It outlives this process; with `sync` a power failure too, with all that was written before.
        """
        ...

    def iterate(self, start: bytes, stop: bytes, limit: int, *, reverse: bool = False) -> Sequence[tuple[bytes, bytes]]:
        """Return up to `limit` keys and values from `start` on, before `stop`, in order, or from the end of it.

        It is what was there at one moment. Values are not checked.
        """
        ...

    def moment(self) -> Moment:
        """Return the database as it is now."""
        ...

    def close(self) -> None:
        """Close it; nothing is called any more, whether it raises or not. What was written stays written."""
        ...


class Moment(Protocol):
    """A database as it was at one moment, while others go on writing; closed before the database is.

    Used by one thread at a time.
    """

    def iterate(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Do what `Engine.iterate` does."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class View:
    """An engine as one batch sees it: with what the batch is to write."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.changes: dict[bytes, bytes | None] = {}
        self.records: dict[str, Record | None] = {}
        """The sessions that are written; None for those of which only a part is, or that go."""
        self._of_act: dict[bytes, bytes | None] = {}
        self._records_of_act: dict[str, Record | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return what is there, or None."""
        if key in self._of_act:
            return self._of_act[key]
        return self.changes[key] if key in self.changes else self._engine.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Have `value` written under `key`; None takes the key away."""
        self._of_act[key] = value

    def put_session(self, id_bytes: bytes, value: bytes | None, record: Record | None = None) -> None:
        """Have the value of a session written, which holds `record` if that is given; None takes the session away."""
        self._of_act[SESSION + id_bytes] = value
        self._records_of_act[id_bytes.decode()] = record

    def keep(self) -> None:
        """Add what the act wrote to the batch."""
        if self._of_act:
            self.changes.update(self._of_act)
            self.records.update(self._records_of_act)
            self.drop()

    def drop(self) -> None:
        """Forget what the act wrote."""
        self._of_act = {}
        self._records_of_act = {}


class Write(Act):
    """An act of the writer, by a function of the view. One that `looks` at ranges of the engine sees all before it."""

    __slots__ = ("durable", "looks", "run")

    def __init__(
        self, run: Callable[[View], Any], *, durable: bool = False, looks: bool = False, size_bytes: int = 0
    ) -> None:
        super().__init__(size_bytes)
        self.run = run
        self.durable = durable
        self.looks = looks


class Read(Act):
    """An act of the reader, by a function of the engine."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[Engine], Any]) -> None:
        super().__init__()
        self.run = run


class Writer:
    """Writes batches; runs on the writer's thread only. Nobody else writes, so to look and then to write is safe."""

    def __init__(self, engine: Engine, recent: Recent) -> None:
        self._engine = engine
        self._recent = recent
        self.failed: HoldfastError | None = None
        """Why nothing could be written the last time, or None."""

    def write(self, acts: Sequence[Write]) -> None:
        """Do `acts` in order as one write, synced if one of them is durable; each is told its result or its error.

        An error of one touches none beside it. When the engine cannot write, none of those it was to write is done.
        """
        first = 0
        for at, act in enumerate(acts):
            if act.looks:
                self._write(acts[first:at])
                first = at
        self._write(acts[first:])

    def _write(self, acts: Sequence[Write]) -> None:
        view = View(self._engine)
        durable = False
        for act in acts:
            try:
                act.result = act.run(view)
            except HoldfastError as error:
                act.error = error
                view.drop()
            except Exception as error:  # it belongs to the caller
                act.error = Unavailable(f"the store did not do it: {error}")
                act.error.__cause__ = error
                view.drop()
            else:
                durable |= act.durable
                view.keep()
        if not view.changes:
            return
        stored: dict[str, Record] = {}
        self._recent.begin_write(view.records)
        try:
            self._engine.write(view.changes, sync=durable)
            stored = {name: record for name, record in view.records.items() if record is not None}
            self.failed = None
        except HoldfastError as error:
            self.failed = error
            for act in acts:
                act.result, act.error = None, act.error or error
        finally:
            self._recent.end_write(stored)


class Reader:
    """Answers batches of reads; runs on the reader's thread only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, acts: Sequence[Read]) -> None:
        """Answer `acts`; each is told its result or its error."""
        for act in acts:
            try:
                act.result = act.run(self._engine)
            except Exception as error:  # it belongs to the caller
                act.error = error


def meaning(text: str, *, damaged: bool) -> HoldfastError:
    """Return the error to raise instead of a driver's, of which `text` is what it says."""
    if damaged:
        return Corrupt(
            f"the database is damaged: {text}; run `holdfast store repair` on it, or restore it from a backup"
        )
    return Unavailable(f"the database did not do it: {text}; read before writing")
