"""What docs/clients.md says each client can do, for the tests to hold it to."""

from __future__ import annotations

import itertools
from typing import Final

from tests.kit import ROOT

_PAGE: Final = ROOT / "docs" / "clients.md"


def promised() -> dict[str, dict[str, str]]:
    """Return the first table of the page: client → scenario → what the cell says."""
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), _PAGE.read_text().splitlines())
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    head, _, *body = rows
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}
