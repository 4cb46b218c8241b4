"""What tests share: watches on the loop and on processes, bounded waiting, and tools that may be missing."""

from .client import Event, McpClient, Reply
from .loop import LoopWatch
from .machine import free_port, require
from .node import CONFORMANCE, INSPECTOR, node
from .processes import TEST_RUN_VARIABLE, Process, leftovers, wait_gone
from .served import ECHO, PROBE, ROOT, Served, keeper_of, serving
from .waiting import eventually, eventually_async

__all__ = [
    "CONFORMANCE",
    "ECHO",
    "INSPECTOR",
    "PROBE",
    "ROOT",
    "TEST_RUN_VARIABLE",
    "Event",
    "LoopWatch",
    "McpClient",
    "Process",
    "Reply",
    "Served",
    "eventually",
    "eventually_async",
    "free_port",
    "keeper_of",
    "leftovers",
    "node",
    "require",
    "serving",
    "wait_gone",
]
