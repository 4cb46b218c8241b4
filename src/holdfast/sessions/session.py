"""What users hold: a session as it was when it was read, and the draft that an update changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from ..model.ids import redacted
from ..model.session import Record, State

M = TypeVar("M")

_UNREAD: Final[Any] = object()


class Session(Generic[M]):
    """A session as it was when it was read; nothing here changes what is stored.

    Times are seconds since the epoch, durations seconds. `metadata` is decoded when it is first asked for and
    belongs to the caller.
    """

    __slots__ = ("_decode", "_metadata", "_record")

    def __init__(self, record: Record, decode: Callable[[bytes], M]) -> None:
        self._record = record
        self._decode = decode
        self._metadata: M = _UNREAD

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def version(self) -> int:
        return self._record.version

    @property
    def term(self) -> int:
        return self._record.term

    @property
    def created_at(self) -> float:
        return self._record.created_at

    @property
    def last_accessed(self) -> float:
        return self._record.last_accessed

    @property
    def timeout(self) -> float | None:
        return self._record.timeout

    @property
    def max_age(self) -> float | None:
        return self._record.max_age

    @property
    def owner(self) -> str | None:
        return self._record.owner

    @property
    def tags(self) -> frozenset[str]:
        return self._record.tags

    @property
    def state(self) -> State:
        return self._record.state

    @property
    def reason(self) -> str | None:
        return self._record.reason

    @property
    def metadata(self) -> M:
        if self._metadata is _UNREAD:
            self._metadata = self._decode(self._record.metadata)
        return self._metadata

    def __repr__(self) -> str:
        return f"<Session {redacted(self._record.id)} version {self._record.version}, {self._record.state}>"


class Draft(Session[M]):
    """A private copy that an update may change: `metadata`, `tags` and `timeout`. The rest stays as it is."""

    __slots__ = ("_tags", "_timeout")

    def __init__(self, record: Record, decode: Callable[[bytes], M]) -> None:
        super().__init__(record, decode)
        self._tags: Any = record.tags
        self._timeout: Any = record.timeout

    @property
    def metadata(self) -> M:
        return super().metadata

    @metadata.setter
    def metadata(self, metadata: M) -> None:
        self._metadata = metadata

    @property
    def tags(self) -> frozenset[str]:
        return self._tags  # type: ignore[no-any-return]  # checked when it is written

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._tags = tags

    @property
    def timeout(self) -> float | None:
        return self._timeout  # type: ignore[no-any-return]  # checked when it is written

    @timeout.setter
    def timeout(self, timeout: float | timedelta | None) -> None:
        self._timeout = timeout


def metadata_of(draft: Draft[M], encode: Callable[[M], bytes]) -> bytes:
    """Return the metadata of `draft`, encoded; what was never looked at is taken as it is stored."""
    return draft._record.metadata if draft._metadata is _UNREAD else encode(draft._metadata)
