"""What is different between two snapshots, found part by part so that memory has a bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from ..codec import decode
from ..model.errors import HoldfastError
from ..model.session import Record

_FIELDS: Final = ("created_at", "timeout", "max_age", "owner", "tags", "state", "reason")
_PAGE: Final = 500


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was created, deleted (or expired) or changed between two moments.

    `fields` names what changed: fields of the session, and keys of its metadata as `metadata.key`; never a value.
    `created_at` among them says that it is another session under the same id.
    """

    id: str
    kind: Literal["created", "deleted", "changed"]
    fields: tuple[str, ...] = ()


class Comparison:
    """Compares those sessions of two snapshots whose ids fall into one of `parts` parts. Blocks."""

    def __init__(self, part: int, parts: int) -> None:
        self._part = part
        self._parts = parts
        self._before: dict[str, Record] = {}

    def add_before(self, records: list[Record]) -> None:
        """Take records of the earlier one."""
        self._before.update((record.id, record) for record in records if self._is_mine(record))

    def add_after(self, records: list[Record]) -> list[Change]:
        """Take records of the later one, when all of the earlier are there; return what is new or changed."""
        changes: list[Change] = []
        for record in filter(self._is_mine, records):
            before = self._before.pop(record.id, None)
            if before is None:
                changes.append(Change(id=record.id, kind="created"))
            elif fields := changed_fields(before, record):
                changes.append(Change(id=record.id, kind="changed", fields=fields))
        return changes

    def deleted(self) -> Iterator[list[Change]]:
        """Yield pages of what the later one has no more, when all of it was added."""
        names = sorted(self._before)
        for start in range(0, len(names), _PAGE):
            yield [Change(id=name, kind="deleted") for name in names[start : start + _PAGE]]

    def _is_mine(self, record: Record) -> bool:
        return zlib.crc32(record.id.encode()) % self._parts == self._part


def changed_fields(before: Record, after: Record) -> tuple[str, ...]:
    """Return the names of what differs, but for the version, the term and the last access."""
    fields = [name for name in _FIELDS if getattr(before, name) != getattr(after, name)]
    if before.metadata != after.metadata:
        fields += _changed_metadata(before.metadata, after.metadata)
    return tuple(fields)


def _changed_metadata(before: bytes, after: bytes) -> list[str]:
    try:
        old, new = decode(before), decode(after)
        missing = object()
        keys = [key for key in old | new if old.get(key, missing) != new.get(key, missing)]
    except HoldfastError:
        keys = []
    # Where values are equal and their types are not, no key is named.
    return sorted(f"metadata.{key}" for key in keys) or ["metadata"]
