"""One owner per power: time, environment, tasks and endless loops, the session header."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final

from .source import House, Module, dotted, used_names

CLOCKS: Final = frozenset(
    {f"time.{name}{unit}" for name in ("time", "monotonic", "perf_counter", "clock_gettime") for unit in ("", "_ns")}
    | {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")}
    | {"datetime.date.today"}
)
ENVIRONMENT: Final = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"})
TASK_MAKERS: Final = frozenset({"create_task", "ensure_future"})
SESSION_HEADER: Final = "mcp-session-id"
SLEEPS: Final = frozenset({"time.sleep", "asyncio.sleep", "anyio.sleep"})
# fmt: off
IMPURE: Final = frozenset({
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib", "uuid",
})
# fmt: on
IMPURE_CALLS: Final = frozenset({"open", "print", "input", "exec", "eval"})


def _outside(house: House, *homes: str) -> Iterator[Module]:
    for module in house.of("holdfast"):
        if not any(module.name == f"holdfast.{home}" or module.package == home for home in homes):
            yield module


def only_the_clock_tells_time(house: House) -> Iterator[str]:
    """Time is asked of a `Clock`; only `model/clock.py` asks the system."""
    for module in _outside(house, "model.clock"):
        for line, name in used_names(module):
            if name in CLOCKS:
                yield module.at(line, f"uses {name}; ask a Clock (model/clock.py)")


def only_config_reads_the_environment(house: House) -> Iterator[str]:
    """Settings come from `config/`; nothing else looks at the environment."""
    for module in _outside(house, "config"):
        for line, name in used_names(module):
            if name in ENVIRONMENT:
                yield module.at(line, f"uses {name}; settings come from config/")


def only_runtime_makes_tasks(house: House) -> Iterator[str]:
    """A task made elsewhere can vanish half way or fail in silence."""
    for module in _outside(house, "runtime"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in TASK_MAKERS:
                yield module.at(node.lineno, f"calls {dotted(node.func)}; use runtime.spawn")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TASK_MAKERS:
                yield module.at(node.lineno, f"calls {node.func.attr}; use runtime.spawn")


def only_runtime_loops_for_ever(house: House) -> Iterator[str]:
    """A `while True` that awaits and has no way out (break, return, yield, raise of something) is a Periodic."""
    for module in _outside(house, "runtime"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value:
                inner = list(_same_scope(node))
                if any(isinstance(part, ast.Await) for part in inner) and not any(map(_leaves, inner)):
                    yield module.at(node.lineno, "loops for ever; use runtime.Periodic")


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        yield child
        yield from _same_scope(child)


def _leaves(node: ast.AST) -> bool:
    raises = isinstance(node, ast.Raise) and node.exc is not None
    return raises or isinstance(node, ast.Break | ast.Return | ast.Yield | ast.YieldFrom)


def only_transport_knows_the_session_header(house: House) -> Iterator[str]:
    """The header's name stands in `transport/`; what needs it elsewhere imports it."""
    for module in _outside(house, "transport"):
        docs = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Constant) or id(node) in docs:
                continue
            text = node.value.decode(errors="replace") if isinstance(node.value, bytes) else node.value
            if isinstance(text, str) and SESSION_HEADER in text.lower():
                yield module.at(node.lineno, "names the session header; that is transport's")


def rules_are_pure(house: House) -> Iterator[str]:
    """`rules.py` decides from its arguments: no async, no clock, no chance, no input or output."""
    for module in house.of("holdfast"):
        if module.name.rpartition(".")[2] != "rules":
            continue
        for line, target, _ in house.imports(module):
            if target.split(".")[0] in IMPURE:
                yield module.at(line, f"imports {target}; rules are data in, data out")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                yield module.at(node.lineno, "is async; rules are data in, data out")
            elif isinstance(node, ast.Call) and dotted(node.func) in IMPURE_CALLS:
                yield module.at(node.lineno, f"calls {dotted(node.func)}; rules are data in, data out")


def tests_do_not_sleep(house: House) -> Iterator[str]:
    """A sleep hides a race or wastes a second; helper programs in `tests/programs/` play slow servers and may."""
    for module in house.of("tests"):
        if module.name.startswith("tests.programs."):
            continue
        sleeps = {line for line, name in used_names(module) if name in SLEEPS}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and node.lineno in sleeps and dotted(node.func).endswith("sleep"):
                first = node.args[0] if node.args else None
                if not (isinstance(first, ast.Constant) and first.value == 0):
                    yield module.at(node.lineno, "sleeps; wait for what is meant (tests/kit)")


RULES: Final[tuple[Callable[[House], Iterator[str]], ...]] = (
    only_the_clock_tells_time,
    only_config_reads_the_environment,
    only_runtime_makes_tasks,
    only_runtime_loops_for_ever,
    only_transport_knows_the_session_header,
    rules_are_pure,
    tests_do_not_sleep,
)
