"""Backups of whole stores and snapshots of sessions, in one form of archive: made, checked, restored, kept a while."""

from .archive import Header, Totals
from .backup import Checked, Made, back_up, check
from .changes import Change
from .restore import Restored, restore
from .schedule import Schedule
from .snapshots import BroughtBack, SnapshotInfo, Snapshots

__all__ = [
    "BroughtBack",
    "Change",
    "Checked",
    "Header",
    "Made",
    "Restored",
    "Schedule",
    "SnapshotInfo",
    "Snapshots",
    "Totals",
    "back_up",
    "check",
    "restore",
]
