"""A program that repairs a SQLite store, and before each step says which and waits for a line."""

from __future__ import annotations

import sys

from holdfast import HoldfastError
from holdfast.stores import upkeep_of


def wait(what: str, done: int, total: int) -> None:
    print(what, flush=True)
    sys.stdin.readline()


try:
    print(upkeep_of(sys.argv[1]).repair(wait))
except HoldfastError as error:
    print(type(error).__name__, error)
