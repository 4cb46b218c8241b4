"""Fixtures for every test."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from . import kit

# How long an example takes is the machine's affair. What else is set where CI is set, stays so.
settings.register_profile("unhurried", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("unhurried")


def pytest_configure() -> None:
    # Inherited by everything a test starts, so that its processes are never taken for somebody else's.
    os.environ[kit.TEST_RUN_VARIABLE] = secrets.token_hex(8)
    # A shell starts what runs in its background with SIGINT ignored, and every process a test starts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def free_port() -> int:
    """Give a free port of 127.0.0.1."""
    return kit.free_port()


@pytest.fixture
def require() -> Callable[[str], str]:
    """Give `require(binary)`: its path, or a skip on a laptop and a failure in CI."""
    return kit.require


@pytest.fixture(autouse=True, scope="module")
def no_processes_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a module that leaves a keeper, server or worker of its own behind for good.

    A module rather than a test, because the tests of one may share a server.
    """
    token, folder = os.environ[kit.TEST_RUN_VARIABLE], Path(tmp_path_factory.getbasetemp())
    before = kit.leftovers(token, folder)
    yield
    left = kit.wait_gone(kit.leftovers(token, folder) - before, within_s=60.0)
    if left:
        pytest.fail("left running: " + "; ".join(f"{process.pid} {process.command}" for process in sorted(left)))
