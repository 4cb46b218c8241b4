"""The one owner of new tasks and endless loops: `spawn`, `Periodic`, `shielded` and `uncancelled`. asyncio only."""

from .periodic import Periodic
from .shield import shielded, uncancelled
from .supervise import spawn

__all__ = ["Periodic", "shielded", "spawn", "uncancelled"]
