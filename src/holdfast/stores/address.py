"""Takes the address of a store apart, and finds the file or folder that it names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ..model.errors import Misused


def split_address(url: str) -> SplitResult:
    """Return the parts of the address of a store, of whatever kind.

    Raises:
        Misused: It is no address, or its path is none that a file could have.
    """
    if not isinstance(url, str):
        raise Misused(f"the address of a store is a str, as sqlite:///sessions.db, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        path = os.fsencode(unquote(parts.path))
    except ValueError as error:
        raise Misused(f"the store address {url!r} is not understood: {error}; write it as sqlite:///path") from error
    if b"\0" in path:
        raise Misused(f"the store address {url!r} names no file: there is a NUL in it; write it as sqlite:///path")
    return parts


def names_a_place(parts: SplitResult) -> bool:
    """Tell whether these are the parts of the address of a store that is kept in a file or folder."""
    known = parts.scheme in ("sqlite", "leveldb", "rocksdb")
    return known and not parts.netloc and not parts.fragment and len(parts.path) > 1


def file_of(url: str) -> Path:
    """Return the file or folder of the store at `url`, which need not be there.

    Raises:
        Misused: The address is not understood, or such stores are kept in no file.
    """
    parts = split_address(url)
    if not names_a_place(parts):
        raise Misused(f"{url!r} names no store in a file; use sqlite:///path, leveldb:///path or rocksdb:///path")
    from .sqlite_address import place_of

    return place_of(parts.path, parts.query if parts.scheme == "sqlite" else "")[0]


def made_file_of(url: str) -> Path:
    """Return the same, but only where something is in it: opening what is missing or empty would make a store. Blocks.

    Raises:
        Misused: As `file_of`; or it is not there, is empty, or may not be looked at.
    """
    place = file_of(url)
    if not is_there(place):
        raise Misused(f"{place} is not there; name a store")
    try:
        if place.is_dir():  # one in the place of a SQLite file is refused by whoever opens it
            is_empty = split_address(url).scheme != "sqlite" and not any(place.iterdir())
        else:
            is_empty = place.is_file() and not place.stat().st_size
    except OSError as error:
        raise _not_looked_at(place, error) from error
    if is_empty:
        raise Misused(f"{place} is empty; no store was made in it yet")
    return place


def is_there(path: Path) -> bool:
    """Tell whether something is at `path`. Blocks.

    Raises:
        Misused: That may not be looked at.
    """
    try:
        return path.exists()
    except OSError as error:
        raise _not_looked_at(path, error) from error


def _not_looked_at(path: Path, error: OSError) -> Misused:
    return Misused(f"{path} cannot be looked at: {error.strerror or error}; check the permissions of its folders")
