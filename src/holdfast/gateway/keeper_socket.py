"""Finds the keeper of a data directory: connects to its socket, and to nobody else's."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final

from holdfast_keeper.wire import SOCKET

from ..model.errors import Misused, Unavailable

CONNECTS_WITHIN_S: Final = 5
_CREDENTIALS: Final = struct.Struct("iII")
_TIMEVAL: Final = struct.Struct("ll")


def connect_to_keeper(data_dir: Path) -> socket.socket | None:
    """Connect to the keeper of `data_dir`; None when none is there, be it that one left its socket behind.

    The socket blocks and is not inherited. It takes at most `CONNECTS_WITHIN_S` seconds; the path may be of any length.

    Raises:
        Misused: The data directory cannot be entered, or the keeper is another user's; nothing was said to it.
        Unavailable: The keeper is there and takes no connection. Source: unix(7).
    """
    try:
        folder = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(data_dir, error) from error
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # How long connect(2) may wait while the keeper's queue is full; `settimeout` would not let it wait at all.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(CONNECTS_WITHIN_S, 0))
        # By way of the folder, for the path of a socket has at most 107 bytes.
        connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(0, 0))
        _check_user(connection, data_dir)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BlockingIOError as error:
        connection.close()
        late = f"within {CONNECTS_WITHIN_S} s; look at its process, and end it if it hangs"
        raise Unavailable(f"the keeper of {data_dir} took no connection {late}") from error
    except OSError as error:
        connection.close()
        raise _unusable(data_dir / SOCKET, error) from error
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def peer_of(connection: socket.socket) -> int:
    """Return the process id of the keeper at the other end."""
    return _credentials(connection)[0]


def _credentials(connection: socket.socket) -> tuple[int, int]:
    size = _CREDENTIALS.size
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, user


def _check_user(connection: socket.socket, data_dir: Path) -> None:
    """Look whose process listens: whoever can write to the folder could have put a socket of their own there."""
    pid, user = _credentials(connection)
    if user != os.geteuid():
        raise Misused(
            f"the keeper of {data_dir} (pid {pid}) runs as user {user}, and this is user {os.geteuid()}; "
            "run this as that user, or choose another --data"
        )


def _unusable(path: Path, error: OSError) -> Misused:
    return Misused(
        f"{path} cannot be used: {error.strerror}; run this as the user it belongs to, or choose another --data"
    )
