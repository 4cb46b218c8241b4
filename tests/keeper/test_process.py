"""The keeper as a process: what it imports, and how it refuses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import holdfast_keeper
from holdfast.gateway.keeper_socket import connect_to_keeper
from holdfast_keeper import wire

pytestmark = pytest.mark.slow


@contextmanager
def started(data: Path, *options: str) -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """Start a keeper; give the server's end of its socket, and the process."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60.0)
    command = [sys.executable, "-I", *options, holdfast_keeper.__path__[0], str(theirs.fileno()), str(data)]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
    with theirs, ours, process:
        theirs.close()
        yield ours, process


def answer(ours: socket.socket) -> dict[str, object]:
    """Return what the keeper says first, after which it closes the socket."""
    splitter = wire.Splitter()
    found = []
    while chunk := ours.recv(65536):
        found += splitter.feed(chunk)
    [(kind, _, payload, _)] = found
    assert kind == wire.HELLO
    said = json.loads(payload)
    assert isinstance(said, dict)
    return said


def test_the_keeper_imports_nothing_but_itself_and_the_standard_library(tmp_path: Path) -> None:
    with started(tmp_path, "-X", "importtime") as (ours, process):
        ours.sendall(wire.message(wire.HELLO, 0, b'{"versions": [2], "role": "server", "term": 1, "pid": 1}'))
        assert ours.recv(65536)
        ours.close()
        _, said = process.communicate(timeout=60.0)
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time")}
    assert "holdfast_keeper.keeper" in imported
    ours_only = {name for name in imported if name.split(".")[0] in ("holdfast", "msgspec", "uvloop")}
    assert ours_only == set()
    assert process.returncode == 0


def test_a_server_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    with started(tmp_path) as (ours, process):
        ours.sendall(wire.message(wire.HELLO, 0, b'{"versions": [7], "role": "server", "term": 1, "pid": 1}'))
        said = answer(ours)
        assert process.wait(60.0) == 0
    assert said["version"] == wire.VERSION
    assert "version 2" in str(said["error"])
    assert "[7]" in str(said["error"])


@pytest.mark.parametrize(
    "nonsense",
    [
        wire.message(wire.SPAWN, 1, b'{"command": ["cat"]}'),
        wire.message(wire.HELLO, 0, b"not json"),
        wire.message(wire.HELLO, 0, b"[]"),
        wire.HEADER.pack(2**32 - 1, wire.HELLO, 0, 0),
    ],
)
def test_a_server_that_does_not_speak_the_protocol_is_told_so(tmp_path: Path, nonsense: bytes) -> None:
    with started(tmp_path) as (ours, process):
        ours.sendall(nonsense)
        assert "error" in answer(ours)
        assert process.wait(60.0) == 0


CONNECTING = """
import os, socket, sys
at = os.open(".", os.O_PATH)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as ours:
    ours.connect(f"/proc/self/fd/{at}/keeper.sock")
    try:
        ours.sendall(bytes.fromhex(sys.argv[1]))
        print(ours.recv(1))
    except OSError:
        print("refused")
"""


def test_the_socket_is_its_users_alone(tmp_path: Path) -> None:
    """R-SEC-4; who gets at it all the same is told nothing."""
    hello = wire.message(wire.HELLO, 0, b'{"versions": [2], "role": "server", "term": 1, "pid": 1}')
    folder = tmp_path.parent / f"{tmp_path.name}-shared"
    folder.mkdir()
    with started(folder) as (ours, process):
        ours.sendall(hello)
        assert ours.recv(65536)
        place = folder / wire.SOCKET
        assert place.stat().st_mode & 0o777 == 0o600
        if os.geteuid() == 0:  # only root can be two users
            folder.chmod(0o755)
            place.chmod(0o666)
            asking = wire.message(wire.HELLO, 0, b'{"versions": [2], "role": "operator", "asks": "status"}')
            command = [sys.executable, "-I", "-c", CONNECTING, asking.hex()]
            ran = subprocess.run(command, capture_output=True, cwd=folder, timeout=60.0, check=False)
            assert ran.stdout in (b"b''\n", b"refused\n"), ran.stderr
        ours.close()
        assert process.wait(60.0) == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        wire.message(wire.DONE, 0, b"short"),
        wire.message(wire.CALL | wire.NOTED, 1, b"x", 1),
        wire.message(
            wire.SPAWN, 1, b'{"label": "a", "place": "/", "keep_s": 0, "env": {}, "frame_bytes_max": Infinity}'
        ),
        wire.message(wire.ATTACH, 1, b"[" * 100_000),
        wire.message(wire.ATTACH, 1, b"{}"),
    ],
    ids=["done", "note", "spawn", "deep", "attach"],
)
def test_nonsense_from_one_server_ends_its_connection_and_nothing_else(tmp_path: Path, nonsense: bytes) -> None:
    hello = wire.message(wire.HELLO, 0, b'{"versions": [2], "role": "server", "term": 1, "pid": 1}')
    place = tmp_path / "one"
    (place / "work").mkdir(parents=True)
    order = {"label": "l", "place": str(place), "command": ["cat"], "env": {}, "frame_bytes_max": 1000, "keep_s": 60}
    with started(tmp_path) as (ours, process):
        ours.sendall(hello + wire.message(wire.SPAWN, 1, json.dumps(order).encode()))
        ours.sendall(nonsense)
        while ours.recv(65536):
            pass
        with connect_to_keeper(tmp_path) as next_one:  # type: ignore[union-attr]  # it is there
            next_one.sendall(hello + wire.message(wire.STOP, 0, b'{"grace_s": 0}'))
            assert next_one.recv(65536)
        assert process.wait(60.0) == 0


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with started(tmp_path / "nowhere") as (ours, process):
        assert "nowhere/keeper.lock cannot be opened" in str(answer(ours)["error"])
        assert process.wait(60.0) == 0
