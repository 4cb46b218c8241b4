"""What a keeper tells its operator, and how that is shown: session ids only in part, for they are secrets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ..model import redacted

STAGES: Final = ("opening", "agreed", "ready")
_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


class ServerSeen(msgspec.Struct, frozen=True):
    """A server that is connected to the keeper."""

    pid: int
    term: int


class WorkerSeen(msgspec.Struct, frozen=True):
    """One worker, as its keeper sees it: `pid` is 0 when it has ended, `server` the process it answers to, if any.

    What waits was said by it and is acknowledged by no server; `spilled_bytes` of it are on disk.
    """

    label: str
    pid: int
    since: float
    server: int | None = None
    stage: int = 0
    calls: int = 0
    waiting_frames: int = 0
    waiting_bytes: int = 0
    spilled_bytes: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A keeper's HELLO to its operator; `since` is when it began, in seconds since the epoch."""

    version: int
    pid: int
    error: str | None = None
    since: float = 0.0
    term: int = 0
    servers: tuple[ServerSeen, ...] = ()
    workers: tuple[WorkerSeen, ...] = ()


def as_json(answer: Answer) -> str:
    """Return the status as one line of JSON, whose times are seconds since the epoch."""
    told: dict[str, Any] = msgspec.to_builtins(answer)
    del told["error"]
    told["workers"] = []
    for worker in answer.workers:
        session, owner = _whose(worker.label)
        fields: dict[str, Any] = msgspec.to_builtins(worker)
        del fields["label"]
        told["workers"].append({"session": session, "owner": owner} | fields | {"stage": _stage(worker)})
    return msgspec.json.encode(told).decode()


def as_text(answer: Answer, data_dir: Path, now: float) -> str:
    """Return the status as lines for a person; `now` is in seconds since the epoch."""
    servers = ", ".join(f"pid {server.pid} (term {server.term})" for server in answer.servers)
    calls = sum(worker.calls for worker in answer.workers)
    waiting = sum(worker.waiting_bytes for worker in answer.workers)
    lines = [
        f"keeper    of {data_dir}: pid {answer.pid}, running for {_duration(now - answer.since)}",
        f"server    {servers or 'none; what workers say is kept until one comes'}",
        f"workers   {len(answer.workers)}, with {calls} calls open; {_size(waiting)} wait for a server",
    ]
    if answer.workers:
        rows = [_row(worker, now) for worker in sorted(answer.workers, key=lambda worker: worker.since)]
        lines += [
            "",
            *_table(("SESSION", "OWNER", "PID", "FOR", "STATE", "SERVER", "CALLS", "WAITING", "ON DISK"), rows),
        ]
    return "\n".join(lines)


def _row(worker: WorkerSeen, now: float) -> tuple[str, ...]:
    session, owner = _whose(worker.label)
    waiting = f"{worker.waiting_frames} ({_size(worker.waiting_bytes)})" if worker.waiting_frames else "-"
    return (
        _shown(session),
        _shown(owner or "-"),
        str(worker.pid or "-"),
        _duration(now - worker.since),
        _stage(worker),
        str(worker.server or "-"),
        str(worker.calls or "-"),
        waiting,
        _size(worker.spilled_bytes) if worker.spilled_bytes else "-",
    )


def _whose(label: str) -> tuple[str, str | None]:
    """Return the session, in part, and its owner, by the words in which the server names a worker to the keeper."""
    try:
        session, owner = msgspec.json.decode(label, type=tuple[str, str | None])
    except msgspec.MsgspecError:
        return redacted(label), None
    return redacted(session), owner


def _stage(worker: WorkerSeen) -> str:
    if not worker.pid:
        return "ended"
    return STAGES[worker.stage] if 0 <= worker.stage < len(STAGES) else str(worker.stage)


def _shown(text: str) -> str:
    """Return a name fit for a terminal and a column."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 30 else printable[:29] + "…"


def _duration(seconds: float) -> str:
    for unit_s, unit in _UNITS:
        if seconds >= unit_s:
            return f"{int(seconds / unit_s)} {unit}"
    return f"{max(0, int(seconds))} s"


def _size(size_bytes: int) -> str:
    for unit_bytes, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes} B"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
