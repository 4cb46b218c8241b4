"""Writes lines for the person at the terminal, or for the program that reads them."""

from __future__ import annotations

import io
import os
import sys

from ..model import Clock, HoldfastError

_PROGRESS_EVERY_S = 0.1


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
        _drop_the_rest()
    except OSError as error:
        _drop_the_rest()
        raise HoldfastError(
            f"it is done, and what is to be said of it could not be written: {error.strerror}"
        ) from error


def _drop_the_rest() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ProgressLine:
    """One line on stderr that is written over and over, ten times a second at most, and only on a terminal."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shows = sys.stderr.isatty()
        self._written_at = float("-inf")

    def tell(self, what: str, done: int, total: int) -> None:
        """Show what is being done, how much of it is done, and how much there is, 0 when nobody knows."""
        now = self._clock.now()
        if self._shows and now - self._written_at >= _PROGRESS_EVERY_S:
            self._written_at = now
            share = f" {done:,} of {total:,}" if total else f" {done:,}" if done else ""
            print(f"\r\x1b[K{what}{share}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the line."""
        if self._shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
