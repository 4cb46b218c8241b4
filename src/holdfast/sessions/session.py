"""What users hold: a session as it was when it was read, and the draft that an update changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar

from ..codec import decode, encode
from ..model.errors import Misused
from ..model.ids import check_session_id, new_session_id, redacted
from ..model.session import Record, State
from . import rules

M = TypeVar("M")

Changes: TypeAlias = dict[str, Any]
"""Fields of a record and their next values."""

_UNREAD: Final[Any] = object()
_EMPTY: Final = encode({})


class Home(Generic[M]):
    """What the sessions of one manager share: how their metadata is written and read, and their live objects."""

    __slots__ = ("_type", "decode", "encode", "locals")

    def __init__(
        self, metadata_type: type[M] | None, encode: Callable[[M], bytes], decode: Callable[[bytes], M]
    ) -> None:
        self._type: Any = metadata_type or dict
        self.encode = encode
        self.decode = decode
        self.locals: dict[tuple[str, float], dict[str, Any]] = {}
        """The live objects of sessions by id and `created_at`: who gets an id later gets nothing of them."""

    def empty(self) -> M:
        """Return the metadata of a session that is given none.

        Raises:
            Misused: Its type wants values.
        """
        try:
            return self._type()  # type: ignore[no-any-return]  # it is an M, or a dict when there is no type
        except TypeError as error:
            raise Misused(f"{self._type.__name__} is not made of nothing ({error}); pass the metadata") from error

    def local_of(self, record: Record) -> dict[str, Any]:
        """Return the live objects of a session, which are there until it is gone."""
        key = (record.id, record.created_at)
        found = self.locals.get(key)
        if found is None:
            found = self.locals[key] = {}
        return found

    def without(self, record: Record) -> Home[M]:
        """Let go of the live objects of a session that is gone; return a home that has nothing else, if there are any.

        Without any this one is returned.
        """
        key = (record.id, record.created_at)
        if key not in self.locals:
            return self
        other = Home[M](self._type, self.encode, self.decode)
        other.locals[key] = self.locals.pop(key)
        return other


class Session(Generic[M]):
    """A session as it was when it was read; nothing here changes what is stored.

    Times are seconds since the epoch, durations seconds. `metadata` is decoded when it is first asked for and belongs
    to the caller; asking raises `Corrupt` when it is damaged, `Misused` when it does not fit the manager's type.
    `local` holds live objects of this process, such as tasks and connections, by names of yours: all who hold the
    session share it, it is never stored, and it goes with the session.

    One can be made without a manager (`new`), changed and used alone, and stored later by `SessionManager.adopt`; until
    then its version is 0.

        >>> cart = Session.new({"items": []}, tags=["cart"])
        >>> cart.metadata["items"].append("tea")
        >>> cart.tags |= {"open"}
        >>> cart.metadata, sorted(cart.tags), cart.version
        ({'items': ['tea']}, ['cart', 'open'], 0)
    """

    __slots__ = ("_home", "_metadata", "_record", "_used_at")

    def __init__(self, record: Record, home: Home[M], used_at: float = 0.0) -> None:
        self._record = record
        self._home = home
        self._used_at = used_at
        self._metadata: M = _UNREAD

    @classmethod
    def new(
        cls, metadata: M | None = None, *, id: str | None = None, owner: str | None = None, tags: Iterable[str] = ()
    ) -> Draft[M]:
        """Make a session that is stored nowhere, as the draft of one: metadata, tags and timeout may be changed.

        Without metadata it has what the manager gives it that adopts it; if it is looked at before, an empty dict.

        Raises:
            Misused: An argument is not valid.
        """
        session_id = new_session_id() if id is None else check_session_id(id)
        checked = rules.checked_owner(owner), rules.checked_tags(tags)
        record = Record(session_id, 0, 0, 0.0, 0.0, None, None, *checked, "active", None, _EMPTY)
        draft = Draft(record, Home[M](None, encode, decode))  # type: ignore[arg-type]  # M is a dict, or is given
        if metadata is not None:
            draft.metadata = metadata
        return draft

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
        return max(self._record.last_accessed, self._used_at)

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
            self._metadata = self._home.decode(self._record.metadata)
        return self._metadata

    @property
    def local(self) -> dict[str, Any]:
        return self._home.local_of(self._record)

    def __repr__(self) -> str:
        return f"<Session {redacted(self._record.id)} version {self._record.version}, {self._record.state}>"


class Draft(Session[M]):
    """A copy of one's own to be changed: `metadata`, `tags` and `timeout`. The rest stays as it is.

    An update gets one to return, and `Session.new` makes one. What is set is checked when it is stored.
    """

    __slots__ = ("_changes",)

    def __init__(self, record: Record, home: Home[M], used_at: float = 0.0) -> None:
        self._record = record
        self._home = home
        self._used_at = used_at
        self._metadata: M = _UNREAD
        self._changes: Changes | None = None

    @property
    def metadata(self) -> M:
        if self._metadata is _UNREAD:
            self._metadata = self._home.decode(self._record.metadata)
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: M) -> None:
        self._metadata = metadata

    @property
    def tags(self) -> frozenset[str]:
        return self._get("tags")  # type: ignore[no-any-return]  # checked when it is written

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._set("tags", tags)

    @property
    def timeout(self) -> float | None:
        return self._get("timeout")  # type: ignore[no-any-return]  # checked when it is written

    @timeout.setter
    def timeout(self, timeout: float | timedelta | None) -> None:
        self._set("timeout", timeout)

    @property
    def has_metadata(self) -> bool:
        """Whether anybody gave it metadata, or looked at them."""
        return self._metadata is not _UNREAD

    @property
    def has_timeout(self) -> bool:
        """Whether anybody set its timeout."""
        return self._changes is not None and "timeout" in self._changes

    def _get(self, name: str) -> Any:
        changes = self._changes
        return changes[name] if changes is not None and name in changes else getattr(self._record, name)

    def _set(self, name: str, value: object) -> None:
        if self._changes is None:
            self._changes = {}
        self._changes[name] = value

    def changes(self) -> Changes:
        """Return what of the record is to be written. Metadata that was never looked at stays as it is stored.

        Raises:
            Misused: Something that was set is not storable or not valid.
        """
        changes = self._changes
        if changes is None:
            return {} if self._metadata is _UNREAD else {"metadata": self._home.encode(self._metadata)}
        if "tags" in changes:
            changes["tags"] = rules.checked_tags(changes["tags"])
        if "timeout" in changes:
            changes["timeout"] = rules.duration_s(changes["timeout"], "timeout")
        if self._metadata is not _UNREAD:
            changes["metadata"] = self._home.encode(self._metadata)
        return changes
