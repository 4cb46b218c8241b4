"""What happened to a session, as subscribers of a manager are told."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from .session import Session

M = TypeVar("M")


class SessionEvent(msgspec.Struct, Generic[M], frozen=True):
    """Something happened to `session` at `at`, seconds since the epoch.

    `session` is what is stored from then on, or was stored last. Its `version` orders the events of one session.
    """

    session: Session[M]
    at: float


class SessionCreated(SessionEvent[M], frozen=True):
    """It is there."""


class SessionUpdated(SessionEvent[M], frozen=True):
    """Its metadata, tags or timeout were written."""


class SessionStateChanged(SessionEvent[M], frozen=True):
    """Its `state` is another one; `session.reason` says why, if anybody did."""


class SessionOwnerChanged(SessionEvent[M], frozen=True):
    """Another node owns it, under `session.term`."""


class SessionDeleted(SessionEvent[M], frozen=True):
    """Somebody deleted it."""


class SessionExpired(SessionEvent[M], frozen=True):
    """Nobody used it for its timeout, or it reached its greatest age, and it was deleted."""


class SessionEvicted(SessionEvent[M], frozen=True):
    """It was deleted to make room for another one."""


class EventsMissed(msgspec.Struct, frozen=True):
    """The subscriber was too slow: `count` events between the one before and the one after this were not kept."""

    count: int
