"""Errors, named by what the caller does next.

Every error carries its values as attributes besides the sentence, so that callers never parse a message.
Session ids in messages are redacted (`ids.redacted`).
"""

from __future__ import annotations


class HoldfastError(Exception):
    """Anything Holdfast raises on purpose."""


class NotFound(HoldfastError):
    """It is not there, or not yours; the two are never told apart. Stop."""


class Unauthenticated(HoldfastError):
    """Nobody is known by what was sent. Authenticate as `challenge`, a WWW-Authenticate value, says."""

    def __init__(self, message: str, *, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class Conflict(HoldfastError):
    """Somebody else was first. Nothing was changed. Read again, then decide."""


class VersionConflict(Conflict):
    """The stored version is not the expected one. Nothing was written."""


class CursorExpired(Conflict):
    """What comes behind the cursor is not all kept. Take the feed's position, read everything, follow from there."""


class Refused(HoldfastError):
    """A bound was reached. Wait `wait_s` seconds, or ask for less. Nothing was changed."""

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Moved(HoldfastError):
    """Another node owns the session under a higher term. Never retry here. Nothing was written."""


class Unavailable(HoldfastError):
    """The outcome is unknown. Read before writing again."""


class KeyMissing(Unavailable):
    """What is stored is whole, and sealed under the key `key_id`, which is not in the key ring. Nothing was changed.

    The one kind of `Unavailable` that is known not to have happened. Whoever runs the store adds the key.
    """

    def __init__(self, message: str, *, key_id: str) -> None:
        super().__init__(message)
        self.key_id = key_id


class Corrupt(HoldfastError):
    """Stored data is damaged. Stop; a human must look. Nothing was changed."""


class Misused(HoldfastError):
    """The call is wrong and would be wrong again. Fix the call. Nothing was changed."""
