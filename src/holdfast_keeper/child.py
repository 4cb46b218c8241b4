"""Starts a worker's main process."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from .processes import PR_SET_PDEATHSIG, prctl

DIED_EARLY = 127


class StartError(Exception):
    """The command could not be started; the message is a sentence for the user. Nothing is left of it."""


class Child(NamedTuple):
    """A running main process and our ends of its pipes, none of which blocks."""

    pid: int
    stdin: int
    stdout: int
    stderr: int


def start(command: Sequence[str], directory: str, env: dict[str, str], files_max: tuple[int, int]) -> Child:
    """Run `command` in `directory` with exactly `env`; return once it runs.

    It leads a session of its own, has no descriptors but its three pipes, and is killed when this process dies.
    A command without a slash is looked for on the PATH of `env`. `files_max` is its limit of open files.

    Raises:
        StartError: It could not be started.
    """
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(4):
            pipes.append(os.pipe())  # noqa: PERF401 - what was made before a failure must be closed
        keeper = os.getpid()
        pid = os.fork()
    except OSError as error:
        for end in [end for pipe in pipes for end in pipe]:
            os.close(end)
        raise StartError(f"no process can be started now: {error.strerror}") from error
    (stdin, our_stdin), (our_stdout, stdout), (our_stderr, stderr), (report, say) = pipes
    if pid == 0:
        _become(command, directory, env, files_max, (stdin, stdout, stderr), say, keeper)
    for end in (stdin, stdout, stderr, say):
        os.close(end)
    # The other end of `report` is closed by the exec that succeeds.
    trouble = os.read(report, 4096)
    os.close(report)
    if trouble:
        os.waitpid(pid, 0)
        for end in (our_stdin, our_stdout, our_stderr):
            os.close(end)
        raise StartError(_sentence(trouble.decode(), command, directory))
    for end in (our_stdin, our_stdout, our_stderr):
        os.set_blocking(end, False)
    return Child(pid, our_stdin, our_stdout, our_stderr)


def _become(
    command: Sequence[str],
    directory: str,
    env: dict[str, str],
    files_max: tuple[int, int],
    ends: tuple[int, int, int],
    say: int,
    keeper: int,
) -> NoReturn:
    """Turn the forked process into the command; every other descriptor closes by itself at the exec."""
    stage = "start"
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(DIED_EARLY)  # the keeper died before it was told about us
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_NOFILE, files_max)
        for target, end in enumerate(ends):
            os.dup2(end, target)
        stage = "directory"
        os.chdir(directory)
        stage = "command"
        os.execvpe(command[0], list(command), env)
    except OSError as error:
        os.write(say, f"{stage} {error.errno or 0} {error.strerror}".encode())
    except BaseException as error:
        os.write(say, f"{stage} 0 {error}".encode()[:4096])
    finally:
        os._exit(DIED_EARLY)


def _sentence(trouble: str, command: Sequence[str], directory: str) -> str:
    stage, number, reason = trouble.split(" ", 2)
    if stage == "directory":
        return f"the working directory {directory} cannot be entered: {reason}"
    if stage == "command" and int(number) in (errno.ENOENT, errno.ENOTDIR):
        return f"command not found: {command[0]!r}, or the interpreter its first line names; give its full path"
    if stage == "command" and int(number) == errno.EACCES:
        return f"{command[0]!r} may not be executed; check its permissions (chmod +x)"
    if stage == "command" and int(number) == errno.ENOEXEC:
        return f"{command[0]!r} is not a program; a script needs a first line such as #!/bin/sh"
    return f"{command[0]!r} cannot be started: {reason}"
