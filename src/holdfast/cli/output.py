"""Writes lines for the person at the terminal, or for the program that reads them."""

from __future__ import annotations

import io
import os
import sys


def take_any_text() -> None:
    """Let stdout replace what its encoding has no character for, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def say(line: str) -> None:
    """Print one line at once.

    When nobody reads any more (`| head`), this and all that follows is dropped; the exit code still tells how it went.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
