"""`holdfast snapshot take|list|diff|restore|delete`: sessions as they were at a moment, to compare and to restore."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from ..backup import BroughtBack, Change, SnapshotInfo, Snapshots
from ..codec import Codec
from ..model import Clock, Misused, SystemClock
from ..model.ids import redacted
from ..sessions import SessionManager
from ..stores import Progress, made_file_of, open_store
from .backup import at
from .output import ProgressLine, say, take_any_text

SHOWN_MAX: Final = 20
NAMED_MAX: Final = 10_000
_NAMES: Final = {"take": (0, 1), "list": (0, 0), "diff": (1, 2), "restore": (1, 1), "delete": (1, 1)}
_MEANINGS: Final = {
    "changed": "changed back",
    "same": "so already; the idle clock starts now",
    "created": "deleted or expired before, and there again",
    "gone": "deleted or expired, and stays so; --deleted brings it back",
    "expired": "at its greatest age, and stays gone",
    "terminated": "terminated, which is final",
    "taken": "gone, and another session has the id",
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    does: str
    url: str
    names: list[str]
    folder: str | None
    session: str | None
    deleted: bool
    full_ids: bool
    json: bool


def snapshot(asked: Asked, codec: Codec) -> int:
    """Do it and print what came of it; return 0.

    Raises:
        Misused, NotFound: There is no such store, snapshot or session, or the words do not fit.
        Corrupt: The snapshot is damaged. Nothing was changed.
        Unavailable, Conflict, Refused: As `Snapshots` says.
    """
    take_any_text()
    least, most = _NAMES[asked.does]
    if not least <= len(asked.names) <= most:
        wanted = {0: "no name", 1: "a name", 2: "one or two names"}[most]
        raise Misused(f"snapshot {asked.does} takes {wanted} after the address; see holdfast snapshot --help")
    place = made_file_of(asked.url)
    clock = SystemClock()
    line = ProgressLine(clock)
    try:
        text = asyncio.run(_done(asked, place, codec, clock, line.tell))
    finally:
        line.end()
    say(text)
    return 0


async def _done(asked: Asked, place: Path, codec: Codec, clock: Clock, progress: Progress) -> str:
    folder = Path(asked.folder) if asked.folder is not None else place.with_name(place.name + ".snapshots")
    does: dict[str, Callable[[Snapshots, Asked, Progress], Awaitable[str]]] = {
        "take": _take,
        "list": _list,
        "diff": _diff,
        "restore": _restore,
        "delete": _delete,
    }
    async with open_store(asked.url, codec=codec) as store:
        sessions: SessionManager[dict[str, Any]] = SessionManager(store, clock=clock)
        return await does[asked.does](Snapshots(sessions, folder, clock=clock, codec=codec), asked, progress)


async def _take(snapshots: Snapshots, asked: Asked, progress: Progress) -> str:
    name = asked.names[0] if asked.names else None
    info = await snapshots.take(name, session_id=asked.session, progress=progress)
    return _as_json(info) if asked.json else f"Snapshot {info.name} holds {info.sessions:,} sessions."


async def _list(snapshots: Snapshots, asked: Asked, progress: Progress) -> str:
    found = await snapshots.list()
    if asked.json:
        return _as_json(found)
    return "\n".join(map(_line, found)) or "There are no snapshots."


async def _diff(snapshots: Snapshots, asked: Asked, progress: Progress) -> str:
    counts: Counter[str] = Counter()
    named: list[Change] = []
    async for change in snapshots.diff(*asked.names, progress=progress):
        counts[change.kind] += 1
        if len(named) < (NAMED_MAX if asked.json else SHOWN_MAX):
            shown = change.id if asked.full_ids else redacted(change.id)
            named.append(msgspec.structs.replace(change, id=shown))
    told = {kind: counts[kind] for kind in ("created", "deleted", "changed")}
    if asked.json:
        return _as_json({**told, "changes": named})
    lines = [", ".join(f"{count:,} {kind}" for kind, count in told.items())]
    lines += [f"  {each.kind:8} {each.id} {', '.join(each.fields)}".rstrip() for each in named]
    if counts.total() > len(named):
        lines.append(f"  and {counts.total() - len(named):,} more")
    return "\n".join(lines)


async def _restore(snapshots: Snapshots, asked: Asked, progress: Progress) -> str:
    done: BroughtBack = await snapshots.restore(
        asked.names[0], session_id=asked.session, deleted=asked.deleted, progress=progress
    )
    if asked.json:
        return _as_json(done)
    counts = {name: getattr(done, name) for name in _MEANINGS}
    return "\n".join(f"{count:9,}  {_MEANINGS[name]}" for name, count in counts.items() if count) or "It is empty."


async def _delete(snapshots: Snapshots, asked: Asked, progress: Progress) -> str:
    await snapshots.delete(asked.names[0])
    return _as_json({"deleted": asked.names[0]}) if asked.json else f"Snapshot {asked.names[0]} is deleted."


def _line(info: SnapshotInfo) -> str:
    if info.damage:
        return f"{info.name}  damaged: {info.damage}"
    return f"{info.name}  {at(info.taken_at)}  {info.sessions:,} sessions  {info.size_bytes:,} bytes"


def _as_json(found: object) -> str:
    return msgspec.json.encode(found).decode()
