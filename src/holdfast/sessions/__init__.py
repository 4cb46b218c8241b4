"""Sessions: `SessionManager` creates, reads, changes and ends them; `rules` decides when one is gone."""

from .manager import SessionManager
from .requests import Requests
from .scan import Scan
from .session import Draft, Session

__all__ = ["Draft", "Requests", "Scan", "Session", "SessionManager"]
