"""`holdfast backup` and `holdfast restore`: everything in a store to a file or stdout, and back."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ..backup import Made, Restored, Schedule, back_up, restore
from ..backup.rules import SUFFIX, name_at
from ..backup.schedule import checked_every_s
from ..codec import Codec
from ..config.values import duration_s, whole
from ..model import Misused, SystemClock
from ..observability import LogSettings, log_to_stderr
from ..stores import made_file_of, open_to_dump
from .output import ProgressLine, say, take_any_text

SHOWN_MAX: Final = 20
KEEP: Final = 24


def backup(url: str, to: str | None, codec: Codec, *, every: str | None, keep: str | None, json: bool) -> int:
    """Make one backup, or one again and again until the process is told to end; return 0, or 1 if not all was read.

    Raises:
        Misused: There is no such store, or the file may not be put there. Nothing was written.
        Unavailable, Corrupt: As `back_up`; nothing is left of a file.
    """
    take_any_text()
    made_file_of(url)
    if every is None and keep is not None:
        raise Misused("--keep says how many of the backups of --every stay; add --every, as in --every 1h")
    if every is not None:
        return asyncio.run(
            _again(url, to, checked_every_s(duration_s(every)), codec, whole(1, 10_000)(keep or str(KEEP)), json=json)
        )
    made = asyncio.run(_once(url, _target(to), codec))
    _tell_made(made, json=json)
    return 0 if made.complete else 1


def restored(url: str, source: str, codec: Codec, *, replace: bool, deleted: bool, json: bool) -> int:
    """Put a backup in the place of the store at `url`; return 0.

    Raises:
        Misused, Corrupt, Conflict, Unavailable: As `restore`; nothing was changed.
    """
    take_any_text()
    clock = SystemClock()
    line = ProgressLine(clock)
    found: Path | BinaryIO = sys.stdin.buffer if source == "-" else Path(source)
    try:
        done = asyncio.run(
            restore(found, url, clock=clock, replace=replace, deleted=deleted, codec=codec, progress=line.tell)
        )
    finally:
        line.end()
    say(msgspec.json.encode(done).decode() if json else "\n".join(_restored_lines(done, url)))
    return 0


def _target(to: str | None) -> Path | BinaryIO:
    if to == "-":
        if sys.stdout.isatty():
            raise Misused("a backup is no text for a terminal; name a file, or redirect stdout")
        return sys.stdout.buffer
    return Path(to if to is not None else f"{name_at(SystemClock().now())}{SUFFIX}")


async def _once(url: str, target: Path | BinaryIO, codec: Codec) -> Made:
    clock = SystemClock()
    line = ProgressLine(clock)
    try:
        async with open_to_dump(url, codec=codec) as store:
            return await back_up(store, target, clock=clock, codec=codec, progress=line.tell)
    finally:
        line.end()


async def _again(url: str, to: str | None, every_s: float, codec: Codec, keep: int, *, json: bool) -> int:
    """Make one at once, and then one every so often, until SIGINT or SIGTERM."""
    if to is None or to == "-":
        raise Misused("--every wants a folder for the backups: holdfast backup URL DIR --every 1h")
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    schedule = Schedule(
        lambda target: _once(url, target, codec),
        Path(to),
        keep=keep,
        clock=SystemClock(),
        codec=codec,
        told=lambda made: _tell_made(made, json=json),
    )
    await schedule.run()
    log_to_stderr(LogSettings())
    schedule.start(every_s)
    await ended.wait()
    await schedule.stop()
    return 0


def _tell_made(made: Made, *, json: bool) -> None:
    text = msgspec.json.encode(made).decode() if json else "\n".join(_made_lines(made))
    if made.file == "-":
        print(text, file=sys.stderr, flush=True)
    else:
        say(text)


def _made_lines(made: Made) -> list[str]:
    name = "stdout" if made.file == "-" else made.file
    lines = [
        f"{made.sessions:,} sessions and {made.entries:,} journal entries, as of {at(made.taken_at)}, are in {name} "
        f"({made.size_bytes:,} bytes)."
    ]
    if made.damaged:
        lines.append(f"{made.damaged:,} sessions cannot be read and are not in it:")
        lines += [f"  {name}" for name in made.named[:SHOWN_MAX]]
    if made.lost_entries:
        lines.append(f"{made.lost_entries:,} journal entries cannot be read and are not in it.")
    return lines


def _restored_lines(done: Restored, url: str) -> list[str]:
    lines = [f"{url} has {done.sessions:,} sessions again, as of {at(done.taken_at)}; their idle clocks start now."]
    if done.expired:
        lines.append(f"{done.expired:,} had expired, and stay gone.")
    if done.deleted:
        lines.append(f"{done.deleted:,} were deleted or terminated since, and stay gone; --deleted brings them back.")
    if done.damaged:
        lines.append(f"{done.damaged:,} could not be read when the backup was made.")
    if done.kept:
        lines.append(f"The store that was there is kept as {done.kept}; delete it when you need nothing of it.")
    return lines


def at(moment: float) -> str:
    """Return a moment as people read it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
