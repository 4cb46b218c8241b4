"""What tests share: watches on the loop and on processes, bounded waiting, and tools that may be missing."""

from .loop import LoopWatch
from .machine import free_port, require
from .processes import TEST_RUN_VARIABLE, Process, leftovers, wait_gone
from .waiting import eventually, eventually_async

__all__ = [
    "TEST_RUN_VARIABLE",
    "LoopWatch",
    "Process",
    "eventually",
    "eventually_async",
    "free_port",
    "leftovers",
    "require",
    "wait_gone",
]
