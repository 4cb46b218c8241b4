"""The house rules hold in the whole project, without exemptions.

Each rule is a function from the parsed sources to sentences that name a file and a line. That every rule can fail is
shown in `test_the_rules_bite.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from . import dependencies, powers, shape
from .source import House

RULES = (*dependencies.RULES, *powers.RULES, *shape.RULES)


@pytest.fixture(scope="module")
def house() -> House:
    return House.load()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: Callable[[House], Iterator[str]], house: House) -> None:
    broken = list(rule(house))
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


def test_the_house_is_not_empty(house: House) -> None:
    """A rule that looks at nothing would hold."""
    for name in ("holdfast.model.clock", "holdfast_keeper.wire", "tests.house.test_house_rules"):
        assert name in house.modules
    assert {"README.md", "Makefile", "pyproject.toml"} <= house.texts.keys()
