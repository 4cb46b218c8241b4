"""MCP servers of every bad habit, for the keeper to own: `worker.py HABIT [ARGUMENT]`. Standard library only."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path


def echo() -> None:
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def stay() -> None:
    while True:
        signal.pause()


def stubborn() -> None:
    """Ignore the end of stdin and SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say('"ready"')
    stay()


def daemon(*, hide: bool = False) -> None:
    """Leave a daemon behind: forked twice, with a session of its own, deaf to SIGTERM; then echo."""
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(tell, str(os.getpid()).encode())
        for fd in (0, 1, 2):
            os.close(fd)
        if hide:
            os.execve(sys.executable, [sys.executable, "-c", "import signal\nwhile True: signal.pause()"], {})
        stay()
    os.wait()
    say(os.read(ready, 20).decode())
    echo()


def hidden_daemon() -> None:
    """Like `daemon`, without anything of ours in its environment."""
    daemon(hide=True)


def pipe_holder() -> None:
    """Exit, and leave a daemon behind that holds stdout."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        stay()
    os.wait()
    say('"left"')


def family() -> None:
    """Have a child in the same group that outlives us unless the group is ended."""
    pid = os.fork()
    if pid == 0:
        stay()
    say(str(pid))
    echo()


def mute() -> None:
    """Close stdout and stay."""
    say('"last words"')
    os.close(1)
    stay()


def deaf() -> None:
    """Read nothing until SIGUSR1 comes, then echo."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    say('"ready"')
    signal.pause()
    echo()


def flood() -> None:
    """Write as many numbered messages as the first line wants, then echo."""
    for number in range(int(sys.stdin.buffer.readline())):
        sys.stdout.write(f'{{"number":{number},"padding":"{"x" * 200}"}}\n')
    sys.stdout.flush()
    echo()


def large() -> None:
    """Write one message of as many bytes as are wanted, after a small one."""
    say('"small"')
    say('"' + "x" * (int(sys.argv[2]) - 2) + '"')
    echo()


def unfinished() -> None:
    """Write blank lines and a last one without its end."""
    sys.stdout.write('\n  \n"one"\r\n\n"two"')
    sys.stdout.flush()


def surroundings() -> None:
    """Say what was inherited."""
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))  # noqa: PTH110, PTH208 - the listing's own descriptor is gone by then
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    said = {
        "env": dict(os.environ),
        "fds": fds,
        "cwd": str(Path.cwd()),
        "leads": os.getsid(0) == os.getpid() == os.getpgrp(),
        "no_new_privs": fields["NoNewPrivs"],
        "ignored": int(fields["SigIgn"], 16) & (1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1)),
    }
    say(json.dumps(said))
    echo()


def noisy() -> None:
    """Write as many bytes to stderr as are wanted, then exit with code 3."""
    line = "x" * 99 + "\n"
    for _ in range(int(sys.argv[2]) // 100):
        sys.stderr.write(line)
    sys.stderr.write("the last line\n")
    sys.stderr.flush()
    sys.exit(3)


HABITS: dict[str, Callable[[], None]] = {
    habit.__name__: habit
    for habit in (
        echo, stubborn, daemon, hidden_daemon, pipe_holder, family, mute, deaf, flood, large, unfinished,
        surroundings, noisy,
    )
}  # fmt: skip

if __name__ == "__main__":
    HABITS[sys.argv[1]]()
