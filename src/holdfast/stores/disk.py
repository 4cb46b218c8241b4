"""What stores of a file or folder ask of the disk beside what their engine does."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file or folder to power-safe storage. Blocks.

    Raises:
        OSError: It is not there, or it failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
