"""Programs for Node that tests run: those of the modules `make test` installs in tests/node, and ours beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .machine import missing, require

_PLACE: Final = Path(__file__).parents[1] / "node"
CONFORMANCE: Final = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
INSPECTOR: Final = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"


def node(program: str) -> tuple[str, str]:
    """Return the words that run `program`, a path below tests/node, which sees the modules there.

    A program of ours that imports one must lie in tests/node itself: Node looks beside the program and upwards. Without
    Node or the modules the test is skipped on a laptop and fails in CI.
    """
    binary = require("node")
    if not (_PLACE / "node_modules" / ".package-lock.json").exists():
        missing("the modules of tests/node are not installed")
    path = _PLACE / program
    assert path.is_file(), f"{path} is not there"
    return binary, str(path)
