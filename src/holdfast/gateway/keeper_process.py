"""The keeper's process: started detached from this one, and waited for whoever started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import holdfast_keeper

from ..model.errors import Unavailable

SOCKET_BYTES: Final = 2**20
KILLED_S_MAX: Final = 5.0


async def launched(data_dir: Path) -> tuple[socket.socket, int]:
    """Start a keeper on `data_dir`; return our end of its first connection, and its process id.

    Raises:
        Unavailable: It cannot be started here; nothing is left of it.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("workers need Linux: the keeper uses its process control")
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise Unavailable(f"the keeper cannot be started: {error.strerror}") from error
    with theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        try:
            return ours, await asyncio.to_thread(_spawn, theirs.fileno(), data_dir)
        except OSError as error:
            ours.close()
            raise Unavailable(f"the keeper could not be started: {error}") from error
        except BaseException:
            ours.close()
            raise


def _spawn(fd: int, data_dir: Path) -> int:
    """Start a keeper, in a session of its own: neither the terminal's signals nor our end are meant for it."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-I", holdfast_keeper.__path__[0], str(fd), str(data_dir)],
        stdin=null, stdout=null, stderr=null, pass_fds=(fd,), start_new_session=True, cwd="/",
    )  # fmt: skip
    process.returncode = 0  # it may outlive us: whoever waits for it does so by its number (`reaped`)
    return process.pid


def reaped(pid: int) -> bool:
    """Return whether a child of this process has ended, and let the system forget it then."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


async def ends(pid: int, within_s: float) -> bool:
    """Return whether a process ends within so many seconds."""
    with _handle_of(pid) as handle:
        return handle is None or await _is_over(handle, within_s)


async def killed(pid: int) -> None:
    """End a process as a crash would, and return once it is gone, or hangs in the kernel."""
    with _handle_of(pid) as handle:
        if handle is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            await _is_over(handle, KILLED_S_MAX)


@contextlib.contextmanager
def _handle_of(pid: int) -> Iterator[int | None]:
    """Hold on to a process; to None when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


async def _is_over(handle: int, within_s: float) -> bool:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(handle, over.set)
    try:
        async with asyncio.timeout(within_s):
            await over.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
