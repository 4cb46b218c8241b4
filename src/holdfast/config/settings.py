"""Turns option values into the settings of the services that own them."""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ..codec import Codec, KeyRing
from ..gateway.keeper import KeeperSettings
from ..gateway.rules import passed_on
from ..gateway.stdio import StdioSettings
from ..model import Misused
from ..model.urls import split_url
from ..observability import LogSettings
from ..stores.contract import JournalBounds
from ..transport.door import DoorSettings, allowed_host
from ..transport.health import ALIVE_PATH, READY_PATH
from ..transport.host import HostSettings
from ..transport.pipeline import EdgeSettings
from .identity import IdentitySettings, identity_of

KEYS: Final = "HOLDFAST_KEYS"
MEMORY: Final = "memory://"
WITHOUT_SERVER_S_MAX: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Everything `holdfast serve` needs to know."""

    host: str
    port: int
    data: Path
    store: str
    codec: Codec
    identity: IdentitySettings
    edge: EdgeSettings
    sessions: HostSettings
    stdio: StdioSettings
    keeper: KeeperSettings
    logs: LogSettings


def settings_of(values: Mapping[str, Any], command: Sequence[str], environ: Mapping[str, str]) -> ServeSettings:
    """Return the settings for option values by name, the command to host, and the environment to take from."""
    data = Path(values["data"]).absolute()
    if values["path"] in (ALIVE_PATH, READY_PATH):
        raise Misused(f"--path {values['path']}: whoever watches the server asks there how it is; choose another")
    return ServeSettings(
        host=values["host"],
        port=values["port"],
        data=data,
        store=values["store"] or f"sqlite:///{quote(str(data / 'sessions.db'))}",
        codec=Codec(keys=keys_of(values["key-file"], environ), compress=values["compress"] == "on"),
        identity=identity_of(values),
        edge=EdgeSettings(
            path=values["path"],
            answer=values["answer"],
            stream_after_s=values["stream-after"],
            poll_after_s=values["poll-after"],
            frame_bytes_max=values["max-frame"],
            door=DoorSettings(
                bound=values["host"],
                hosts=_hosts(values),
                origins=frozenset(values["allow-origin"] or ()),
            ),
        ),
        sessions=HostSettings(
            session_timeout_s=values["session-timeout"],
            request_timeout_s=values["request-timeout"],
            sessions_max=values["max-sessions"],
            journal=JournalBounds(
                session_entries_max=values["journal-entries"],
                session_bytes_max=values["journal-bytes"],
                total_bytes_max=values["journal-total"],
                age_s_max=values["journal-age"],
            ),
        ),
        stdio=StdioSettings(start_timeout_s=values["start-timeout"], starting_max=values["max-starting"]),
        keeper=KeeperSettings(
            command=_from_here(command),
            env=_worker_env(values, environ),
            frame_bytes_max=values["max-frame"],
            files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],  # as it is before the server raises its own
            keep_s=_kept_s(values),
            at_end=values["on-stop"],
        ),
        logs=LogSettings(format=values["log-format"], level=values["log-level"]),
    )


def keys_of(file: str | None, environ: Mapping[str, str]) -> KeyRing | None:
    """Return the keys in the file, or in the environment where no file is named, or None when there are none.

    Raises:
        Misused: They are in both, or wrong, or others may read the file.
    """
    given = environ.get(KEYS)
    if file is not None and given is not None:
        raise Misused(f"--key-file and {KEYS} both give keys; leave one out")
    if file is not None:
        return KeyRing.read(file, "--key-file")
    return None if given is None else KeyRing.parse(given, KEYS)


def _kept_s(values: Mapping[str, Any]) -> float:
    """Return how long workers live on without a server: as long as their sessions may, if these are kept at all."""
    if values["store"] == MEMORY:
        return 0.0
    timeout_s = values["session-timeout"]
    return WITHOUT_SERVER_S_MAX if timeout_s is None else min(timeout_s, WITHOUT_SERVER_S_MAX)


def _hosts(values: Mapping[str, Any]) -> frozenset[str]:
    """Return what clients may call the server: what they are told to call it is among them."""
    named = [] if values["public-url"] is None else [allowed_host(split_url(values["public-url"]).authority)]
    return frozenset([*(values["allow-host"] or ()), *named])


def _from_here(command: Sequence[str]) -> tuple[str, ...]:
    """Return the command with the full path of each word that names a file here: a worker runs in its session's folder.

    A program without a slash is looked for on PATH, as a shell does.
    """
    program, *arguments = command
    found = [program if "/" not in program else str(Path(program).absolute())]
    found += [str(Path(word).absolute()) if Path(word).is_file() else word for word in arguments]
    return tuple(found)


def _worker_env(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    env = passed_on(dict(environ))
    if values["env-file"] is not None:
        env |= _read_env_file(Path(values["env-file"]))
    for item in values["env"] or ():
        name, has_value, value = item.partition("=")
        if not re.fullmatch(r"[^\s=\0]+", name):
            raise Misused("env: a variable without a name, or with a space in it; write NAME or NAME=VALUE")
        if not has_value and name not in environ:
            raise Misused(f"env {name}: there is no such variable here; write {name}=VALUE or set it")
        env[name] = value if has_value else environ[name]
    return env


def _read_env_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"--env-file {path}: it cannot be read: {error}") from error
    env = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, has_value, value = line.strip().partition("=")
            if not has_value or not name.isidentifier():
                raise Misused(f"--env-file {path}, line {number}: write NAME=VALUE; no export, no spaces around the =")
            env[name] = value
    return env
