"""Size, docstrings, suppressions, and what no text of the project may hold."""

from __future__ import annotations

import ast
import importlib
import io
import posixpath
import re
import statistics
import sys
import tokenize
from collections.abc import Callable, Iterator
from typing import Final

from .source import House, Module, dotted

MODULE_LINES_MAX: Final = 600
MODULE_LINES_MEDIAN: Final = 250
FUNCTION_LINES_MAX: Final = 70
FUNCTION_LINES_P95: Final = 40
SUPPRESSION: Final = re.compile(
    r"(type:\s*ignore|noqa|pragma:\s*no (?:cover|branch))"
    r"(?P<codes>\[[\w, -]+\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?"
    r"(?P<why>.*)"
)
# Written so that this file does not match itself.
FORBIDDEN: Final = {
    "an absolute home path": re.compile(r"(?<![\w.])/(?:home|Users|root)/\w"),
    "a registry's host": re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|registry\.yarnpkg|docker\.io/"),
}

# A property is data, and the docstring of its class says what the data are.
DATA_MARKS: Final = frozenset({"overload", "property", "cached_property", "setter", "deleter"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def modules_are_short(house: House) -> Iterator[str]:
    """A module has at most 600 lines, half of those in src at most 250."""
    for module in house.modules.values():
        lines = module.text.count("\n")
        if lines > MODULE_LINES_MAX:
            yield module.at(lines, f"has {lines} lines; a module has at most {MODULE_LINES_MAX}")
    sizes = {module: module.text.count("\n") for module in house.of("holdfast", "holdfast_keeper")}
    if sizes and (middle := statistics.median(sizes.values())) > MODULE_LINES_MEDIAN:
        longest = max(sizes, key=lambda module: sizes[module])
        yield longest.at(1, f"is the longest, and the median is {middle}; it should be {MODULE_LINES_MEDIAN} at most")


def functions_are_short(house: House) -> Iterator[str]:
    """A function has at most 70 lines, docstring included; 95 of 100 in src have at most 40."""
    lengths = []
    for module in house.modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if module.path.startswith("src/"):
                    lengths.append((lines, module.at(node.lineno, node.name)))
                if lines > FUNCTION_LINES_MAX:
                    yield module.at(node.lineno, f"{node.name} has {lines} lines; at most {FUNCTION_LINES_MAX}")
    lengths.sort()
    if lengths and (p95 := lengths[int(len(lengths) * 0.95)])[0] > FUNCTION_LINES_P95:
        yield f"{p95[1]} is at the 95th percentile with {p95[0]} lines; that should be {FUNCTION_LINES_P95} at most"


def public_things_say_what_they_promise(house: House) -> Iterator[str]:
    """Modules and public names in src have a docstring; a method may leave it to the contract that it implements."""
    promised = _promised_methods(house)
    for module in house.of("holdfast", "holdfast_keeper"):
        if module.text.strip() and ast.get_docstring(module.tree) is None and module.name != "holdfast._version":
            yield module.at(1, "has no docstring")
        for node, owner in _public(module.tree):
            if ast.get_docstring(node) is None and not _leaves_it_to_a_base(module, node, owner, promised):
                yield module.at(node.lineno, f"{node.name} has no docstring")


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[Documented, ast.ClassDef | None]]:
    owner = tree if isinstance(tree, ast.ClassDef) else None
    for node in tree.body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield node, owner
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _promised_methods(house: House) -> set[str]:
    """Return the names of the documented methods of every class that others build on."""
    classes = [
        node for module in house.of("holdfast") for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
    ]
    bases = {dotted(base).rpartition(".")[2] for node in classes for base in node.bases}
    protocols = [node for node in classes if "Protocol" in {dotted(base).rpartition(".")[2] for base in node.bases}]
    return {
        part.name
        for node in [*protocols, *(node for node in classes if node.name in bases)]
        for part in node.body
        if isinstance(part, Function) and ast.get_docstring(part)
    }


def _leaves_it_to_a_base(module: Module, node: Documented, owner: ast.ClassDef | None, promised: set[str]) -> bool:
    if owner is None or isinstance(node, ast.ClassDef):
        return False
    marks = {dotted(mark).rpartition(".")[2] for mark in node.decorator_list}
    inherited = any(hasattr(_stdlib_thing(module, dotted(base)), node.name) for base in owner.bases)
    return node.name in promised or inherited or bool(marks & DATA_MARKS)


def _stdlib_thing(module: Module, name: str) -> object:
    """Return the class of the standard library that `name` stands for in `module`, or None."""
    home, _, last = name.rpartition(".")
    if not home:
        found = [node for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom) and not node.level]
        home = next((node.module or "" for node in found if last in {alias.name for alias in node.names}), "")
    if home.split(".")[0] not in sys.stdlib_module_names:
        return None
    return getattr(importlib.import_module(home), last, None)


def suppressions_say_why(house: House) -> Iterator[str]:
    """Whoever silences a checker names the check and the reason on the same line."""
    for module in house.modules.values():
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            if token.type != tokenize.COMMENT or not (found := SUPPRESSION.search(token.string)):
                continue
            needs_code = not found[1].startswith("pragma")
            if (needs_code and not found["codes"]) or len(re.findall(r"\w{2,}", found["why"])) < 2:
                yield module.at(token.start[0], f"silences with `{found[1]}` without the check's name and a reason")


def texts_name_no_machine(house: House) -> Iterator[str]:
    """No file names somebody's home directory or the host of a package registry."""
    for path, text in house.texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            for what, pattern in FORBIDDEN.items():
                if pattern.search(line):
                    yield f"{path}:{number}: holds {what}"


def links_lead_somewhere(house: House) -> Iterator[str]:
    """A relative link in a Markdown file names a file or folder of the project."""
    folders = {path.rpartition("/")[0] for path in house.texts}
    for path, text in house.texts.items():
        if not path.endswith(".md"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", line):
                whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
                if whole not in house.texts and whole not in folders:
                    yield f"{path}:{number}: links to {target}, which is not there"


RULES: Final[tuple[Callable[[House], Iterator[str]], ...]] = (
    modules_are_short,
    functions_are_short,
    public_things_say_what_they_promise,
    suppressions_say_why,
    texts_name_no_machine,
    links_lead_somewhere,
)
