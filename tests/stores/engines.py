"""The engines of the ordered key-value store; tests take them as parameters."""

from __future__ import annotations

import sys

import pytest

WITH_PLYVEL = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="plyvel, the driver of LevelDB, has no wheels for Python 3.13 and later"
)
ENGINES = [pytest.param("leveldb", marks=WITH_PLYVEL), "rocksdb"]
