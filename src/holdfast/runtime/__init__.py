"""The one owner of new tasks and endless loops: `spawn`, `Periodic` and `shielded`. asyncio only."""

from .periodic import Periodic
from .shield import shielded
from .supervise import spawn

__all__ = ["Periodic", "shielded", "spawn"]
