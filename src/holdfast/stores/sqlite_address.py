"""What the address of a SQLite store says: the file, and what a durable write waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl, unquote

from ..model.errors import Misused

Durability: TypeAlias = Literal["full", "interval", "off"]
DURABILITIES: Final[tuple[Durability, ...]] = get_args(Durability)
_NAME: Final = "durability"


def place_of(path: str, query: str) -> tuple[Path, Durability]:
    """Return the file and the durability that the path and the query of an address name.

    Raises:
        Misused: A parameter or its value is not known, or it is there twice.
    """
    chosen: list[Durability] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != _NAME:
            raise Misused(f"a sqlite address has no parameter {name!r}; it may have {_NAME}={'|'.join(DURABILITIES)}")
        chosen += [known for known in DURABILITIES if known == value]
        if value not in DURABILITIES:
            raise Misused(f"{_NAME}={value} is not known; it is one of {', '.join(DURABILITIES)}")
    if len(chosen) > 1:
        raise Misused(f"the address says {_NAME} twice; leave one out")
    return Path(unquote(path[1:])), chosen[0] if chosen else "full"
