"""Who may use the server, and whose sessions are whose."""

from .contract import Authenticator, Principal, Verifier

__all__ = ["Authenticator", "Principal", "Verifier"]
