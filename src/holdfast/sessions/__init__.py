"""Sessions: `SessionManager` creates, reads, changes and ends them; `rules` decides when one is gone."""

from .events import (
    EventsMissed,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionEvicted,
    SessionExpired,
    SessionOwnerChanged,
    SessionStateChanged,
    SessionUpdated,
)
from .groups import Group, Progress
from .manager import SessionManager
from .metrics import Latency, Metrics
from .requests import Requests
from .room import Capacity
from .scan import Scan
from .session import Draft, Session
from .snapshots import Outcome
from .subscriptions import Subscription

__all__ = [
    "Capacity",
    "Draft",
    "EventsMissed",
    "Group",
    "Latency",
    "Metrics",
    "Outcome",
    "Progress",
    "Requests",
    "Scan",
    "Session",
    "SessionCreated",
    "SessionDeleted",
    "SessionEvent",
    "SessionEvicted",
    "SessionExpired",
    "SessionManager",
    "SessionOwnerChanged",
    "SessionStateChanged",
    "SessionUpdated",
    "Subscription",
]
