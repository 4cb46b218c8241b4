"""The engines of the ordered key-value store; tests take them as parameters."""

from __future__ import annotations

import sys

import pytest

HAS_PLYVEL = sys.version_info < (3, 13)

ENGINES = [
    pytest.param(
        "leveldb", marks=pytest.mark.skipif(not HAS_PLYVEL, reason="plyvel has no wheels for Python 3.13 and later")
    ),
    "rocksdb",
]
