"""Finding the keeper's socket: `connect_to_keeper`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.gateway.keeper_socket import connect_to_keeper
from holdfast.model import Misused
from holdfast_keeper.wire import SOCKET

LISTENING = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
os.chdir(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind("keeper.sock")
os.chmod("keeper.sock", 0o666)
listener.listen()
print("listens", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def listening_in(folder: Path) -> Iterator[socket.socket]:
    """Listen where a keeper would, whatever the length of the path."""
    at = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{at}/{SOCKET}")
        os.close(at)
        listener.listen()
        yield listener


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_it_connects_to_who_listens_there_and_keeps_the_socket_from_children(tmp_path: Path) -> None:
    with listening_in(tmp_path) as listener:
        connection = connect_to_keeper(tmp_path)
        assert connection is not None
        with connection, listener.accept()[0] as accepted:
            accepted.sendall(b"x")
            assert (connection.recv(1), connection.get_inheritable(), connection.gettimeout()) == (b"x", False, None)


def test_a_path_longer_than_the_address_of_a_socket_may_be_is_none_too_long(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    with listening_in(folder):
        connection = connect_to_keeper(folder)
        assert connection is not None
        connection.close()


def test_where_no_keeper_is_there_is_none(tmp_path: Path) -> None:
    """Neither a folder that does not exist, nor an empty one, nor one with the socket of a keeper that was killed."""
    assert connect_to_keeper(tmp_path / "elsewhere") is None
    assert connect_to_keeper(tmp_path) is None
    with listening_in(tmp_path):
        pass
    assert (tmp_path / SOCKET).is_socket()
    assert connect_to_keeper(tmp_path) is None


def test_no_try_leaves_a_descriptor_open(tmp_path: Path) -> None:
    with listening_in(tmp_path):
        pass
    before = descriptors()
    assert connect_to_keeper(tmp_path) is None
    assert connect_to_keeper(tmp_path / "elsewhere") is None
    with pytest.raises(Misused):
        connect_to_keeper(tmp_path / SOCKET)
    assert descriptors() == before


def test_a_data_directory_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misused, match="file cannot be used: Not a directory"):
        connect_to_keeper(tmp_path / "file")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_the_socket_of_another_user_is_left_alone(tmp_path: Path) -> None:
    """R-SEC-1: whoever may write to the folder could have put it there."""
    folder = tmp_path.parent / f"{tmp_path.name}-shared"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    command = (sys.executable, "-I", "-c", LISTENING, ".", "65534")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"listens\n"
            with pytest.raises(Misused, match=f"pid {other.pid}.* runs as user 65534, and this is user 0"):
                connect_to_keeper(folder)
        finally:
            other.kill()
