"""How the keeper's process begins: what it becomes before it serves, and what it says when it cannot."""

from __future__ import annotations

import os
import resource
import signal
import socket

from .keeper import Keeper, refusal
from .processes import PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, prctl


class UnfitError(Exception):
    """This machine cannot serve; the message is a sentence for the user."""


def run(fd: int, directory: str) -> None:
    """Be the keeper, first for the server at the other end of `fd`; return when nobody needs it any more.

    Whatever makes this impossible is said to the server in HELLO.
    """
    first = socket.socket(fileno=fd)
    first.set_inheritable(False)
    try:
        wakeup = _prepare()
        keeper = Keeper(first, directory, wakeup, _raise_files_max())
    except (UnfitError, OSError) as error:
        first.send(refusal(str(error)))
        return
    keeper.run()


def _prepare() -> int:
    """Become the reaper of all descendants, deaf to the terminal; return what becomes readable when a child ends."""
    if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):  # noqa: PTH110 - no start should pay for pathlib
        raise UnfitError("the keeper needs Linux with /proc mounted and CONFIG_PROC_CHILDREN")
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if os.getsid(0) != os.getpid():
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def _raise_files_max() -> tuple[int, int]:
    """Let this process have as many descriptors as it may; return what its workers get, which is what it had."""
    had = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (had[1], had[1]))
    return had
