"""Who may import whom (ARCHITECTURE.md, "Layers")."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from .source import House, Import, Module

# From the bottom up; those on one line are equals. See docs/decisions/0001-house-rules.md for the places where
# one number of the plan became two lines.
LAYERS: Final = (
    ("_version",),
    ("model",),
    ("codec", "runtime"),
    ("stores", "lifecycle", "ratelimit", "isolation", "identity"),
    ("sessions",),
    ("reaper", "hibernation", "migration", "backup", "audit", "cluster", "observability"),
    ("transport", "gateway"),
    ("integrations", "testing"),
    ("config",),
    ("wiring",),
    ("admin",),
    ("server", "console"),
    ("cli",),
    ("__main__",),
)
HEIGHT: Final = {name: height for height, names in enumerate(LAYERS) for name in names}

# A driver that is not spelled in the name of its file. Everything else is found by its own name.
DRIVER_FILES: Final = {
    "asyncpg": "postgres",
    "cryptography": "seal",
    "holdfast_keeper": "keeper",
    "httptools": "uvicorn",
    "mcp": "mcp_sdk",
    "opentelemetry": "otel",
    "plyvel": "leveldb",
    "prometheus_client": "prometheus",
    "pytest": "testing",
    "rocksdict": "rocksdb",
    "sqlite3": "sqlite",
    "uvloop": "uvicorn",
    "zstandard": "compress",
}
STDLIB_DRIVERS: Final = frozenset({"sqlite3"})
# What pyproject.toml names in `dependencies`: there is always one, so any file may use it.
ALWAYS_INSTALLED: Final = frozenset({"msgspec"})
MEETING_PLACES: Final = frozenset({"contract", "rules"})


def _inner(house: House) -> Iterator[tuple[Module, Import, list[str]]]:
    """Yield every import of one part of holdfast by another, and the parts of the imported module's name."""
    for module in house.of("holdfast"):
        for found in house.imports(module):
            parts = found.module.split(".")
            if parts[0] == "holdfast" and module.package and parts[1:2] != [module.package]:
                yield module, found, parts


def imports_point_down(house: House) -> Iterator[str]:
    """Layers: import from below; equals meet only through `contract.py` and `rules.py`."""
    for module, (line, _, _), parts in _inner(house):
        if len(parts) == 1:
            yield module.at(line, "imports the front door; import from the package that has the name")
            continue
        here, there = HEIGHT.get(module.package), HEIGHT.get(parts[1])
        if here is None or there is None:
            unknown = module.package if here is None else parts[1]
            yield module.at(line, f"{unknown} is in no layer; give it one in tests/house/dependencies.py")
        elif there > here:
            yield module.at(line, f"{module.package} imports {'.'.join(parts[1:])} from above")
        elif there == here and not _is_meeting_place(house, parts):
            yield module.at(line, f"{module.package} may meet its equal {parts[1]} only in contract.py and rules.py")


def _is_meeting_place(house: House, parts: list[str]) -> bool:
    """A contract, a rules module, or an `__init__` that gives nothing but those."""
    if len(parts) > 2:
        return parts[2] in MEETING_PLACES
    front = house.modules.get(".".join(parts))
    if front is None or not front.is_package:
        return False
    prefix = front.name + "."
    inner = [found.module.removeprefix(prefix) for found in house.imports(front) if found.module.startswith(prefix)]
    return all(name.split(".")[0] in MEETING_PLACES for name in inner)


def only_wiring_names_implementations(house: House) -> Iterator[str]:
    """Where a package has a contract, others get it, its rules, or the package itself, and never an implementation.

    `config/` takes from it the settings that stand beside it, and nothing else.
    """
    for module, found, parts in _inner(house):
        gathers = module.package == "config" and found.name.endswith("Settings")
        if module.package in ("wiring", "testing") or len(parts) < 3 or gathers:
            continue
        has_contract = f"holdfast.{parts[1]}.contract" in house.modules
        if has_contract and parts[2] not in MEETING_PLACES:
            yield module.at(found.line, f"names the implementation {'.'.join(parts[1:])}; only wiring.py does")


def drivers_stay_in_files_named_for_them(house: House) -> Iterator[str]:
    """Whatever is not installed with holdfast is imported only in a file or package named for it."""
    for module in house.of("holdfast"):
        places = module.name.split(".")[1:]
        for line, target, _ in house.imports(module):
            driver = target.split(".")[0]
            ours = driver == "holdfast" or driver in ALWAYS_INSTALLED
            if ours or (driver in sys.stdlib_module_names and driver not in STDLIB_DRIVERS):
                continue
            wanted = DRIVER_FILES.get(driver, driver)
            if not any(place == wanted or place.startswith(wanted + "_") for place in places):
                yield module.at(line, f"imports {driver}; that belongs in {wanted}.py or {wanted}_*.py")


def the_keeper_stands_alone(house: House) -> Iterator[str]:
    """The keeper outlives upgrades: it imports the standard library and itself."""
    for module in house.of("holdfast_keeper"):
        for line, target, _ in house.imports(module):
            top = target.split(".")[0]
            if top != "holdfast_keeper" and top not in sys.stdlib_module_names:
                yield module.at(line, f"imports {top}; the keeper has only the standard library")


RULES: Final = (
    imports_point_down,
    only_wiring_names_implementations,
    drivers_stay_in_files_named_for_them,
    the_keeper_stands_alone,
)
