"""What those who run Holdfast see of it: its logs."""

from .logs import Handled, LogSettings, begin_request, end_request, log_to_stderr

__all__ = ["Handled", "LogSettings", "begin_request", "end_request", "log_to_stderr"]
