"""Runs the contract suites on every store and prints how many of their tests each passes, as a table in Markdown.

    python scripts/contract_table.py [PATH]...

Exit code 1 when one fails.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from holdfast.testing import contracts

ROOT: Final = Path(__file__).resolve().parents[1]
SUITES: Final = tuple(sorted(contracts.__all__, key=lambda name: (name != "StoreContract", name)))


class Table:
    """Counts, as a plugin of pytest, the tests of suites by store."""

    def __init__(self) -> None:
        self._place: dict[str, tuple[str, str]] = {}
        self.passed: Counter[tuple[str, str]] = Counter()
        self.all: Counter[tuple[str, str]] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is of no suite."""
        for item in items:
            bases = item.cls.__mro__ if isinstance(item, pytest.Function) and item.cls is not None else ()
            for suite in {base.__name__ for base in bases}.intersection(SUITES):
                self._place[item.nodeid] = (store_of(item), suite)
        items[:] = [item for item in items if item.nodeid in self._place]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once, by its outcome; what its fixture failed at is no pass."""
        if report.when == "call" or (report.when == "setup" and not report.passed):
            place = self._place[report.nodeid]
            self.all[place] += 1
            self.passed[place] += report.passed

    def lines(self) -> list[str]:
        """Return the table."""
        found = ["| store | " + " | ".join(suite.removesuffix("Contract") for suite in SUITES) + " |"]
        found.append("|---" * (len(SUITES) + 1) + "|")
        for store in dict.fromkeys(store for store, _ in self.all):
            cells = [
                f"{self.passed[store, suite]} of {n}" if (n := self.all[store, suite]) else "–" for suite in SUITES
            ]
            found.append(f"| {store} | " + " | ".join(cells) + " |")
        return found


def store_of(item: pytest.Item) -> str:
    """Return what is judged: the module's name for it, or the parameter of its fixture where there are several."""
    name = item.path.stem.removeprefix("test_contract_")
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    param = params.get("store")
    return name if param is None else f"{name}, {param}" if name == "beside" else str(param)


def main(paths: list[str]) -> int:
    table, said = Table(), io.StringIO()
    paths = paths or [str(path) for path in sorted((ROOT / "tests/stores").glob("test_contract_*.py"))]
    with contextlib.redirect_stdout(said):
        code = pytest.main(
            ["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), *paths],
            plugins=[table],
        )
    print("\n".join(table.lines()))
    if code:
        print(said.getvalue(), file=sys.stderr)
    return int(bool(code))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
