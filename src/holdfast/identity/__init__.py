"""Who may use the server, and whose sessions are whose."""

from .contract import Authenticator, Principal

__all__ = ["Authenticator", "Principal"]
