"""`holdfast store info|check|repair`: look at the store at an address, read all of it, or save what can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

from ..codec import Codec, KeyRing
from ..model import SystemClock
from ..stores import Findings, Inspection, Repaired, upkeep_of
from .output import ProgressLine, say, take_any_text

SHOWN_MAX: Final = 20

Does: TypeAlias = Literal["info", "check", "repair"]


def store(does: Does, url: str, keys: KeyRing | None = None, *, json: bool) -> int:
    """Do it and print what came of it; return 0, or 1 when a check found damage. `keys` are those it is encrypted with.

    Raises:
        Misused: There is no such store, or it is of a newer version. Nothing was changed.
        Conflict: A process has it open that is to be repaired. Nothing was changed.
        Corrupt: Nothing of it can be read. Nothing was changed.
        KeyMissing: It is to be repaired, and a key it is encrypted with was not given. Nothing was changed.
        Unavailable: It is locked, or the disk is full or does not work.
    """
    take_any_text()
    upkeep = upkeep_of(url, codec=Codec(keys=keys))
    clock = SystemClock()
    if does == "info":
        _tell(upkeep.inspect(clock.now()), _inspection, url, json=json)
        return 0
    line = ProgressLine(clock)
    try:
        found = upkeep.check(line.tell) if does == "check" else upkeep.repair(line.tell)
    finally:
        line.end()
    if isinstance(found, Repaired):
        _tell(found, _repaired, url, json=json)
        return 0
    _tell(found, _findings, url, json=json)
    return 0 if found.sound else 1


def _tell(found: object, as_lines: Callable[..., list[str]], url: str, *, json: bool) -> None:
    say(msgspec.json.encode(found).decode() if json else "\n".join(as_lines(found, url)))


def _inspection(found: Inspection, url: str) -> list[str]:
    sessions = ", ".join(f"{count:,} {state}" for state, count in found.sessions.items())
    return [
        f"store       {url}",
        f"schema      {found.info.schema}",
        f"durability  {found.info.durability}",
        f"sessions    {sessions}",
        f"size        {found.size_bytes:,} bytes, and {found.log_bytes:,} in its log",
        f"keys        {_keys(found.keys)}",
        f"health      {found.info.health}",
    ]


def _keys(counts: dict[str, int]) -> str:
    shown = [f"{count:,} under {key}" for key, count in sorted(counts.items(), reverse=True) if key]
    clear = counts.get("", 0)
    shown += [f"{clear:,} not encrypted"] if clear else []
    return ", ".join(shown) or "nothing is kept"


def _findings(found: Findings, url: str) -> list[str]:
    newer = f", {found.newer:,} of them of a newer version of Holdfast" if found.newer else ""
    locked = f", {found.locked:,} of them with keys that were not given" if found.locked else ""
    lines = [f"{found.records:,} sessions can be read{newer}{locked}."]
    if found.sound:
        return [*lines, "Nothing is damaged."]
    if found.pages:
        lines += ["Pages are damaged:", *_some(found.pages, len(found.pages))]
    if found.damaged:
        lines += [f"{found.damaged:,} sessions are damaged:", *_some(found.named, found.damaged)]
    if found.damaged and not found.records:
        lines.append("Nothing opens: if it is encrypted, look first whether these are its keys.")
    return [*lines, f"With no server on it run `holdfast store repair {url}`, or restore it from a backup."]


def _repaired(found: Repaired, url: str) -> list[str]:
    if not found.kept:
        return [f"{found.sessions:,} sessions can be read. Nothing is damaged, and nothing was changed."]
    lines = [
        f"{url} is sound again, with {found.sessions:,} sessions and {found.entries:,} journal entries.",
        f"The damaged file is kept as {found.kept}; delete it when you need nothing of it.",
    ]
    if found.lost_sessions:
        lines += [f"{found.lost_sessions:,} sessions are lost:", *_some(found.named, found.lost_sessions)]
    if found.lost_entries:
        lines.append(f"{found.lost_entries:,} messages of other sessions are lost; clients that resume are told.")
    return lines


def _some(lines: tuple[str, ...], count: int) -> list[str]:
    shown = [f"  {line}" for line in lines[:SHOWN_MAX]]
    return [*shown, f"  and {count - len(shown):,} more"] if count > len(shown) else shown
