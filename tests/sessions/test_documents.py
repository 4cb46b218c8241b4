"""What sessions.md, stores.md and backup.md, the first example and the examples in docstrings say is what happens."""

from __future__ import annotations

import doctest
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import holdfast
import holdfast.sessions

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/sessions.md", "docs/stores.md", "docs/backup.md")
SHOWN = [
    (document, program, printed)
    for document in DOCUMENTS
    for program, printed in re.findall(
        r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", (ROOT / document).read_text(), re.DOTALL
    )
]


def run(folder: Path, *arguments: str) -> str:
    program = [sys.executable, "-W", "error", *arguments]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    return ran.stdout


@pytest.mark.parametrize(("document", "program", "printed"), SHOWN)
def test_an_example_prints_what_it_says(document: str, program: str, printed: str, tmp_path: Path) -> None:
    """R-OPS-6."""
    assert run(tmp_path, "-c", program) == printed, document


@pytest.mark.slow
def test_the_suites_judge_a_store_as_shown(tmp_path: Path) -> None:
    """R-STO-1."""
    [program] = re.findall(r"```python\n(import pytest.*?)```", (ROOT / "docs/stores.md").read_text(), re.DOTALL)
    (tmp_path / "test_mine.py").write_text(program)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    said = run(tmp_path, "-m", "pytest", "-q", "test_mine.py")
    assert re.search(r"\d\d passed", said)


def test_the_examples_in_docstrings_print_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    """R-OPS-6."""
    names = [module.name for module in pkgutil.iter_modules(holdfast.sessions.__path__)]
    results = {name: doctest.testmod(import_module(f"holdfast.sessions.{name}")) for name in names}
    assert [name for name, result in results.items() if result.failed] == [], capsys.readouterr().out
    assert results["manager"].attempted > 0
    assert results["session"].attempted > 0


def test_every_example_shown_is_run() -> None:
    """R-OPS-6."""
    shown = sum((ROOT / document).read_text().count("```python") for document in DOCUMENTS)
    assert shown == len(SHOWN) + 1


@pytest.mark.slow
def test_the_first_example_finds_its_cart_again(tmp_path: Path) -> None:
    """R-OPS-6."""
    quickstart = str(ROOT / "examples/quickstart.py")
    assert "a new cart" in run(tmp_path, quickstart)
    assert "found the cart with 100 items" in run(tmp_path, quickstart)


def test_the_front_door_opens_every_name_and_imports_nothing_before(tmp_path: Path) -> None:
    """R-MGR-1."""
    said = run(
        tmp_path,
        "-c",
        "import sys, holdfast\n"
        "print(sorted(name for name in sys.modules if name.startswith('holdfast')))\n"
        "print(all(getattr(holdfast, name) for name in holdfast.__all__), sorted(holdfast.__all__) == dir(holdfast))\n"
        "print('holdfast.stores.sqlite' in sys.modules, 'pytest' in sys.modules)",
    )
    assert said == "['holdfast', 'holdfast._version']\nTrue True\nFalse False\n"


def test_testing_needs_no_pytest(tmp_path: Path) -> None:
    """R-STO-1."""
    assert run(tmp_path, "-c", "import sys, holdfast.testing\nprint('pytest' in sys.modules)") == "False\n"


def test_every_public_name_is_documented() -> None:
    """R-OPS-6."""
    documents = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert [name for name in holdfast.__all__ if not re.search(rf"\b{name}\b", documents)] == []
    assert list(holdfast._HOMES) == sorted(holdfast._HOMES)
    assert sorted([*holdfast._HOMES, "__version__"]) == sorted(holdfast.__all__)
