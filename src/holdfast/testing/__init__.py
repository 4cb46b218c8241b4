"""What a test needs: a clock that is moved by hand, and the suites that a store must pass.

The suites are pytest classes in `holdfast.testing.contracts`; importing this needs nothing but Holdfast.
"""

from .clock import ManualClock

__all__ = ["ManualClock"]
