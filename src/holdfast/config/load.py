"""Reads the options: flags weigh more than the environment, the environment more than the file."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..codec import KeyRing
from ..model import Misused
from .options import OPTIONS, Option
from .settings import ServeSettings, keys_of, settings_of

COMMAND: Final = "command"
_KINDS: Final = {str: "a string", list: "this list", dict: "a table", bool: "a boolean", int: "a number"}
"""What is told of a wrong value instead of itself, which may be a secret."""


def load(flags: Mapping[str, str | list[str]], command: Sequence[str], config: str | None) -> ServeSettings:
    """Return the settings from flags given, this process's environment and the file at `config`, if any.

    Raises:
        Misused: A value cannot be read, a key is unknown, or there is no command; it says where and what to do.
    """
    file = _read_file(Path(config)) if config is not None else {}
    in_file = _command_of(file, config)
    command = command or in_file
    if not command:
        raise Misused("no command to host; end with: -- COMMAND [ARG…], for example: -- python server.py")
    values = {option.name: _value(option, flags, os.environ, file, config) for option in OPTIONS}
    return settings_of(values, command, os.environ)


def data_dir(flag: str | None) -> Path:
    """Return the data directory that the flag, else this process's environment names, or the default one.

    Raises:
        Misused: What is given cannot be one.
    """
    [option] = [option for option in OPTIONS if option.name == "data"]
    return Path(_value(option, {} if flag is None else {option.name: flag}, os.environ, {}, None))


def store_keys(flag: str | None) -> KeyRing | None:
    """Return the keys of a store that the flag, else this process's environment gives, or None.

    Raises:
        Misused: They are in both, or wrong, or others may read the file.
    """
    [option] = [option for option in OPTIONS if option.name == "key-file"]
    return keys_of(_value(option, {} if flag is None else {option.name: flag}, os.environ, {}, None), os.environ)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known word nearest to one that is not."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "see holdfast serve --help"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"--config {path}: it cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise Misused(f"--config {path}: not TOML: {error}") from error
    known = [option.name for option in OPTIONS] + [COMMAND]
    for key in content:
        if key not in known:
            raise Misused(f"--config {path}: unknown key {key!r}; {nearest(key, known)}")
    return content


def _command_of(file: Mapping[str, Any], config: str | None) -> list[str]:
    command = file.get(COMMAND, [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise Misused(f'--config {config}: command must be a list of words, for example ["python", "server.py"]')
    return command


def _value(
    option: Option,
    flags: Mapping[str, str | list[str]],
    environ: Mapping[str, str],
    file: Mapping[str, Any],
    config: str | None,
) -> Any:
    given: str | list[str] | None
    if option.name in flags:
        where, given = f"--{option.name}", flags[option.name]
    elif option.variable in environ:
        text = environ[option.variable]
        where, given = option.variable, text.split(",") if option.many else text
    elif option.name in file:
        where, given = f"--config {config}, {option.name}", _texts(option, file[option.name], config)
    else:
        where, given = f"default of --{option.name}", option.default
    if given is None:
        return None
    try:
        return [option.read(item) for item in given] if isinstance(given, list) else option.read(given)
    except Misused as error:
        raise Misused(f"{where}: {error}") from error


def _texts(option: Option, value: object, config: str | None) -> str | list[str]:
    if option.many and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if not option.many and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    wanted = 'a list of strings, as ["…", "…"]' if option.many else "a string or a number"
    raise Misused(f"--config {config}, {option.name}: write {wanted}, not {_KINDS.get(type(value), 'that')}")
