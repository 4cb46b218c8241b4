"""What a test needs of the machine it runs on."""

from __future__ import annotations

import os
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
    """Return a port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
