"""A server that is stopped while another one takes its place."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from holdfast.server.stopped import ending_who_is_stopped
from tests.kit import eventually_async

pytestmark = pytest.mark.slow


@pytest.fixture
def two() -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command) as one, subprocess.Popen(command) as other:
        yield [one, other]
        one.kill()
        other.kill()


async def test_only_who_is_stopped_is_ended_and_only_when_it_takes_long(two: list[subprocess.Popen[bytes]]) -> None:
    """R-KEE-2: it may hold the lock of the store for ever."""
    stopped, running = two
    os.kill(stopped.pid, signal.SIGSTOP)
    with ending_who_is_stopped([stopped.pid, running.pid]):
        await asyncio.sleep(0)
    assert stopped.poll() is None, "nothing took long"
    with ending_who_is_stopped([2**22 + 1, stopped.pid, running.pid]):
        await eventually_async(lambda: stopped.poll() == -signal.SIGKILL)
    assert running.poll() is None
