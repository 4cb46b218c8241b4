"""What a test needs of the machine it runs on."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
from typing import NoReturn

import pytest


def require(binary: str) -> str:
    """Return the path of `binary`; when it is missing, skip the test on a laptop and fail it where CI is set."""
    found = shutil.which(binary)
    if found is None:
        missing(f"{binary} is not on PATH")
    return found


def missing(what: str) -> NoReturn:
    """Skip the test on a laptop and fail it where CI is set, saying `what` is not there."""
    told = f"{what}; `make test` installs what the tests need"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listened on a moment ago.

    It is below those that Linux gives to outgoing connections (`ip_local_port_range`), so that none of these takes it
    before a server does, or while that is restarted; and no other process of this test run is given it.
    """
    runs = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(100):
        port = 10_000 + secrets.randbelow(20_000 // runs) * runs + number
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("none of 100 ports is free")
