"""Every house rule finds what breaks it and leaves alone what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from . import dependencies, powers, shape
from .source import House
from .test_house_rules import RULES

Rule = Callable[[House], Iterator[str]]
H: Final = "src/holdfast/"

# A rule, sources by path, and where exactly it must point.
BROKEN: Final[list[tuple[Rule, dict[str, str], str]]] = [
    (
        dependencies.imports_point_down,
        {H + "model/x.py": "\nfrom ..stores import a", H + "stores/__init__.py": ""},
        ":2",
    ),
    (dependencies.imports_point_down, {H + "model/x.py": "import holdfast.server.app"}, ":1"),
    (dependencies.imports_point_down, {H + "stores/x.py": "def f():\n    from ..wiring import build"}, ":2"),
    (dependencies.imports_point_down, {H + "stores/x.py": "from ..lifecycle.machine import M"}, ":1"),
    (
        dependencies.imports_point_down,
        {
            H + "transport/x.py": "from ..gateway import KeeperWorkers",
            H + "gateway/__init__.py": "from .keeper import KeeperWorkers",
            H + "gateway/keeper.py": "",
        },
        ":1",
    ),
    (
        dependencies.imports_point_down,
        {H + "stores/x.py": "from .. import SessionManager", H + "__init__.py": ""},
        ":1",
    ),
    (dependencies.imports_point_down, {H + "novelty/x.py": "from ..model.ids import redacted"}, ":1"),
    (
        dependencies.only_wiring_names_implementations,
        {H + "cli/serve.py": "\n\nfrom ..stores.sqlite import SqliteStore", H + "stores/contract.py": ""},
        ":3",
    ),
    (
        dependencies.only_wiring_names_implementations,
        {H + "config/x.py": "from ..gateway.keeper import KeeperWorkers", H + "gateway/contract.py": ""},
        ":1",
    ),
    (dependencies.drivers_stay_in_files_named_for_them, {H + "stores/memory.py": "import sqlite3"}, ":1"),
    (dependencies.drivers_stay_in_files_named_for_them, {H + "cli/x.py": "from holdfast_keeper import wire"}, ":1"),
    (dependencies.drivers_stay_in_files_named_for_them, {H + "cli/demo.py": "from mcp.client import Client"}, ":1"),
    (
        dependencies.drivers_stay_in_files_named_for_them,
        {H + "stores/x.py": "try:\n    import redis\nexcept E: ..."},
        ":2",
    ),
    (dependencies.the_keeper_stands_alone, {"src/holdfast_keeper/x.py": "from holdfast.model import ids"}, ":1"),
    (dependencies.the_keeper_stands_alone, {"src/holdfast_keeper/x.py": "import os, msgspec"}, ":1"),
    (powers.only_the_clock_tells_time, {H + "sessions/x.py": "import time\nt = time.monotonic()"}, ":2"),
    (powers.only_the_clock_tells_time, {H + "sessions/x.py": "from time import time as clock\nt = clock()"}, ":2"),
    (powers.only_the_clock_tells_time, {H + "x.py": "from datetime import datetime\nt = datetime.now()"}, ":2"),
    (powers.only_config_reads_the_environment, {H + "cli/x.py": "import os\nhome = os.environ['HOME']"}, ":2"),
    (powers.only_config_reads_the_environment, {H + "cli/x.py": "from os import getenv\ngetenv('HOME')"}, ":2"),
    (powers.only_runtime_makes_tasks, {H + "x.py": "import asyncio\n\nasyncio.create_task(f())"}, ":3"),
    (powers.only_runtime_makes_tasks, {H + "x.py": "get().create_task(f())"}, ":1"),
    (powers.only_runtime_loops_for_ever, {H + "x.py": "async def f():\n    while True:\n        await g()"}, ":2"),
    (
        powers.only_runtime_loops_for_ever,
        {H + "x.py": "async def f():\n  while 1:\n    try:\n      await g()\n    except E:\n      raise"},
        ":2",
    ),
    (powers.only_transport_knows_the_session_header, {H + "cli/x.py": "NAME = 'Mcp-Session-Id'"}, ":1"),
    (powers.only_transport_knows_the_session_header, {H + "cli/x.py": "NAME = b'mcp-session-id'"}, ":1"),
    (powers.rules_are_pure, {H + "stores/rules.py": "import random"}, ":1"),
    (powers.rules_are_pure, {H + "stores/rules.py": "\nasync def f(): ..."}, ":2"),
    (powers.rules_are_pure, {H + "stores/rules.py": "def f(x):\n    print(x)"}, ":2"),
    (powers.tests_do_not_sleep, {"tests/test_x.py": "import time\ntime.sleep(0.1)"}, ":2"),
    (
        powers.tests_do_not_sleep,
        {"tests/test_x.py": "from asyncio import sleep\nasync def f(s):\n    await sleep(s)"},
        ":3",
    ),
    (shape.modules_are_short, {"bench/x.py": "a = 1\n" * 601}, ":601"),
    (shape.modules_are_short, {H + "x.py": "a = 1\n" * 251}, ":1"),
    (shape.functions_are_short, {"tests/x.py": "\ndef f():\n" + "    a = 1\n" * 70}, ":2"),
    (shape.functions_are_short, {H + "x.py": "\n\ndef f():\n" + "    a = 1\n" * 40}, ":3"),
    (shape.public_things_say_what_they_promise, {H + "x/__init__.py": "import os"}, ":1"),
    (shape.public_things_say_what_they_promise, {H + "x.py": '"""X."""\nasync def f(): ...'}, ":2"),
    (
        shape.public_things_say_what_they_promise,
        {H + "x.py": '"""X."""\nclass A:\n    """A."""\n    def f(self): ...'},
        ":4",
    ),
    (
        shape.public_things_say_what_they_promise,
        {H + "x.py": '"""X."""\nfrom typing import Protocol\nclass A(Protocol):\n    """A."""\n    def f(self): ...'},
        ":5",
    ),
    (shape.suppressions_say_why, {"bench/x.py": "import a\nb = a.c  # type: ignore"}, ":2"),
    (shape.suppressions_say_why, {"bench/x.py": "b = a.c  # type: ignore[attr-defined]"}, ":1"),
    (shape.suppressions_say_why, {"bench/x.py": "import a  # noqa: F401"}, ":1"),
    (shape.suppressions_say_why, {"bench/x.py": "import a  # noqa, it must be imported"}, ":1"),
    (shape.suppressions_say_why, {"bench/x.py": "a()  # pragma: no cover"}, ":1"),
    (shape.texts_name_no_machine, {"docs/x.md": "see\n/" + "home/alice/notes.py"}, ":2"),
    (shape.texts_name_no_machine, {"constraints.txt": "--index-url https://py" + "pi.org/simple"}, ":1"),
    (shape.links_lead_somewhere, {"docs/x.md": "\n[a](../README.md#top)"}, ":2"),
]

KEPT: Final[list[tuple[Rule, dict[str, str]]]] = [
    (dependencies.imports_point_down, {H + "stores/x.py": "import os\nfrom ..model import ids\nfrom .memory import M"}),
    (dependencies.imports_point_down, {H + "transport/x.py": "from ..gateway.contract import Upstream"}),
    (
        dependencies.imports_point_down,
        {
            H + "transport/x.py": "from ..gateway import Upstream",
            H + "gateway/__init__.py": "from .contract import Upstream",
            H + "gateway/contract.py": "",
        },
    ),
    (
        dependencies.only_wiring_names_implementations,
        {
            H + "wiring.py": "from .stores.sqlite import SqliteStore",
            H + "config/x.py": "from ..stores.sqlite import SqliteSettings",
            H + "testing/x.py": "from ..stores.memory import MemoryStore",
            H + "cli/x.py": "from ..stores import open_store\nfrom ..sessions.manager import SessionManager",
            H + "stores/__init__.py": "",
            H + "stores/contract.py": "",
            H + "stores/url.py": "from .sqlite import SqliteStore",
        },
    ),
    (
        dependencies.drivers_stay_in_files_named_for_them,
        {
            H + "stores/sqlite_writer.py": "import sqlite3, os, msgspec",
            H + "server/uvicorn.py": "import uvicorn, uvloop",
        },
    ),
    (dependencies.the_keeper_stands_alone, {"src/holdfast_keeper/x.py": "import os\nfrom .wire import HELLO"}),
    (powers.only_the_clock_tells_time, {H + "model/clock.py": "import time\nt = time.time()", H + "x.py": "s.time()"}),
    (
        powers.only_config_reads_the_environment,
        {H + "config/x.py": "import os\nos.environ", H + "x.py": "import os\nos.sep"},
    ),
    (
        powers.only_runtime_makes_tasks,
        {H + "runtime/x.py": "loop.create_task(f())", H + "x.py": "spawn(f(), name='f')"},
    ),
    (
        powers.only_runtime_loops_for_ever,
        {
            H + "x.py": "async def f():\n    while True:\n        if await g():\n            break\n"
            "    while True:\n        h()\n    while more:\n        await g()",
            H + "runtime/x.py": "async def f():\n    while True:\n        await g()",
        },
    ),
    (
        powers.only_transport_knows_the_session_header,
        {H + "transport/x.py": "NAME = 'mcp-session-id'", H + "cli/x.py": '"""Sends Mcp-Session-Id."""'},
    ),
    (powers.rules_are_pure, {H + "stores/rules.py": "from math import inf", H + "stores/x.py": "import os"}),
    (
        powers.tests_do_not_sleep,
        {
            "tests/test_x.py": "import asyncio\nasync def f():\n    await asyncio.sleep(0)",
            "tests/programs/slow.py": "import time\ntime.sleep(1)",
        },
    ),
    (shape.modules_are_short, {H + "x.py": "a = 1\n" * 250}),
    (shape.functions_are_short, {H + "x.py": "def f():\n" + "    a = 1\n" * 39}),
    (
        shape.public_things_say_what_they_promise,
        {
            H + "a.py": '"""A."""\nclass S(Protocol):\n    """S."""\n    def get(self):\n        """Get."""',
            H + "b.py": '"""B."""\nimport asyncio\nclass M(asyncio.Protocol):\n    """M."""\n    def get(self): ...\n'
            "    def data_received(self, data): ...\n    @property\n    def size(self): ...\n    def _own(self): ...",
        },
    ),
    (
        shape.suppressions_say_why,
        {"bench/x.py": "import a  # noqa: F401 - it registers itself\nb = a.c  # type: ignore[x]  # made late"},
    ),
    (shape.texts_name_no_machine, {"docs/x.md": "unpack to ~/holdfast or /var/lib/holdfast; see docs/home/x and pypi"}),
    (
        shape.links_lead_somewhere,
        {"docs/a/x.md": "[a](../b.md#c), [d](#here), [e](https://x.y/z), [f](../a)", "docs/b.md": ""},
    ),
]


@pytest.mark.parametrize(("rule", "sources", "where"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_rule_names_the_file_and_the_line(rule: Rule, sources: dict[str, str], where: str) -> None:
    found = list(rule(House(sources)))
    assert [message.split(": ")[0] for message in found] == [next(iter(sources)) + where]


@pytest.mark.parametrize(("rule", "sources"), KEPT, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_allowed_passes(rule: Rule, sources: dict[str, str]) -> None:
    assert list(rule(House(sources))) == []


def test_every_rule_has_been_seen_to_fail_and_to_pass() -> None:
    assert set(RULES) == {rule for rule, _, _ in BROKEN} == {rule for rule, _ in KEPT}
