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
from .feed import Follower
from .groups import Group, Progress
from .manager import SessionManager
from .metrics import Latency, Metrics
from .recovery import Restored
from .requests import Requests
from .retention import Retention
from .room import Capacity
from .scan import Scan
from .session import Draft, Session
from .snapshots import Outcome
from .subscriptions import Subscription

__all__ = [
    "Capacity",
    "Draft",
    "EventsMissed",
    "Follower",
    "Group",
    "Latency",
    "Metrics",
    "Outcome",
    "Progress",
    "Requests",
    "Restored",
    "Retention",
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
