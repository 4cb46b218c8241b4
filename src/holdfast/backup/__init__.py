"""Backups of whole stores and snapshots of sessions, in one form of archive: made, checked, restored, kept a while."""

from .archive import Header, Totals
from .backup import Checked, Made, back_up, check
from .restore import Restored, restore

__all__ = ["Checked", "Header", "Made", "Restored", "Totals", "back_up", "check", "restore"]
