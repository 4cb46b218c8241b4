"""What the machine shows without asking the server: folders, processes, and the journal at rest."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.kit import Process, leftovers

from .evidence import Taken

NOTES: Final = "taken"


def folder_of(data: Path, session_id: str) -> Path:
    """Return the folder of a session, found by a name that does not tell its id."""
    return data / "sessions" / hashlib.sha256(session_id.encode()).hexdigest()[:32]


def folders(data: Path) -> set[Path]:
    """Return the folders of all sessions."""
    return set((data / "sessions").iterdir())


def notes_of(work: Path) -> list[Taken]:
    """Return what the workers of a session wrote down in its working directory."""
    try:
        return [Taken(**json.loads(line)) for line in (work / NOTES).read_text().splitlines()]
    except FileNotFoundError:
        return []


def processes(data: Path) -> set[Process]:
    """Return everything that runs for a data directory: server, keeper and workers; other runs have theirs."""
    return leftovers("known by the directory alone", data.parent)


def keepers(data: Path) -> list[int]:
    """Return the pids of the keepers of a data directory."""
    return [process.pid for process in processes(data) if "holdfast_keeper" in process.command]


def workers(data: Path) -> Counter[Path]:
    """Return how many processes run for each session's folder."""
    found: Counter[Path] = Counter()
    for process in processes(data):
        try:
            variables = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == b"HOLDFAST_SESSION_DIR":
                found[Path(os.fsdecode(value)).parent] += 1
    return found


def flaws_of_journal(data: Path) -> Iterator[str]:
    """Yield what is wrong with the journal of a stopped server whose sessions have all been asked for.

    This also reaches the streams whose beginning no client ever saw. It knows the tables of schema 3.
    """
    path = next(path for path in data.iterdir() if path.suffix == ".db")
    with closing(sqlite3.connect(path)) as connection:
        for session, stream, openings, finals, asks in connection.execute(
            "SELECT session, stream, sum(kind = 0), sum(kind = 2), max(length(request)) FROM journal"
            " WHERE session IN (SELECT n FROM sessions WHERE state != 'terminated') GROUP BY 1, 2"
        ):
            if openings != 1 or finals != (1 if asks else 0):
                yield f"one opening and one end of stream {stream} of row {session}; {openings} and {finals} are kept"
        for session, stream, count, last in connection.execute(
            "SELECT session, stream, count(*), max(seq) FROM journal"
            " WHERE session NOT IN (SELECT session FROM journal_left) GROUP BY 1, 2 HAVING count(*) != max(seq) + 1"
        ):
            yield f"no gap in stream {stream} of row {session}; {count} entries up to {last}"
        for session, terms in connection.execute(
            "SELECT session, group_concat(before || ' ' || term) FROM ("
            " SELECT session, term, lag(term) OVER (PARTITION BY session ORDER BY n) AS before FROM journal)"
            " WHERE term < before GROUP BY 1"
        ):
            yield f"nothing to be written to row {session} under an older term than before; it fell: {terms}"
        for session, origin, count in connection.execute(
            "SELECT session, origin, count(*) FROM journal WHERE origin > 0 GROUP BY 1, 2 HAVING count(*) > 1"
        ):
            yield f"frame {origin} of row {session} to be kept once; it is kept {count} times"
