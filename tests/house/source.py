"""The sources as the house rules see them: parsed, named, with their imports resolved."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("src", "tests", "bench", "examples", "scripts", "docs", ".ci")
TEXT_BYTES_MAX: Final = 2**20


@dataclass(frozen=True)
class Module:
    """One Python file. `path` is relative to the project; `name` is what it is imported as."""

    path: str
    text: str

    @cached_property
    def name(self) -> str:
        parts = self.path.removeprefix("src/").removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__` of a folder."""
        return self.path.endswith("/__init__.py")

    @property
    def package(self) -> str:
        """The capability of holdfast it belongs to (`stores`), or its own name directly under `holdfast`, or ''."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "holdfast" and len(parts) > 1 else ""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    def at(self, line: int, message: str) -> str:
        """Return a violation that names the file and the line."""
        return f"{self.path}:{line}: {message}"


class Import(NamedTuple):
    """The module imported, and the name taken from it ('' for the module itself)."""

    line: int
    module: str
    name: str


@dataclass(frozen=True)
class House:
    """All text files by their path relative to the project."""

    texts: Mapping[str, str]
    modules: dict[str, Module] = field(init=False)

    def __post_init__(self) -> None:
        found = (Module(path, text) for path, text in self.texts.items() if path.endswith(".py"))
        object.__setattr__(self, "modules", {module.name: module for module in found})

    @classmethod
    def load(cls, root: Path = ROOT) -> House:
        """Read the project's own text files; what tools leave behind is in folders that are not looked at."""
        # What is being measured writes its results here meanwhile, and takes them away again.
        files = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".coverage")]
        for folder in FOLDERS:
            files += [path for path in (root / folder).rglob("*") if path.is_file() and _is_ours(path, root)]
        texts = {}
        for path in sorted(files):
            data = path.read_bytes()
            if len(data) <= TEXT_BYTES_MAX and b"\0" not in data:
                texts[path.relative_to(root).as_posix()] = data.decode(errors="replace")
        return cls(texts)

    def of(self, *tops: str) -> Iterator[Module]:
        """Yield the modules under the packages or folders named."""
        return (module for module in self.modules.values() if module.name.split(".")[0] in tops)

    def imports(self, module: Module) -> Iterator[Import]:
        """Yield what each import brings in, wherever in the file it stands."""
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                yield from (Import(node.lineno, alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(module, node)
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    is_module = inner in self.modules
                    yield Import(node.lineno, inner if is_module else base, "" if is_module else alias.name)


def _is_ours(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return "__pycache__" not in parts and "node_modules" not in parts and parts[:2] != ("bench", "out")


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    base = module.name.split(".")
    up = node.level - module.is_package
    return ".".join(base[: len(base) - up] + ([node.module] if node.module else []))


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a name or a chain of attributes, '' for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def used_names(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and full name of what a file uses: `sleep` after `from time import sleep` is `time.sleep`."""
    known: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node)):
            head, dot, rest = name.partition(".")
            yield node.lineno, known.get(head, head) + dot + rest
