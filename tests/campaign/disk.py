"""What the machine shows without asking the server: folders, processes, and the journal at rest."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.kit import TEST_RUN_VARIABLE, leftovers


def folder_of(data: Path, session_id: str) -> Path:
    """Return the folder of a session, found by a name that does not tell its id."""
    return data / "sessions" / hashlib.sha256(session_id.encode()).hexdigest()[:32]


def folders(data: Path) -> set[Path]:
    """Return the folders of all sessions."""
    return set((data / "sessions").iterdir())


def processes(data: Path) -> set[int]:
    """Return the pids of everything that runs for a data directory: server, keeper and workers."""
    return {process.pid for process in leftovers(os.environ[TEST_RUN_VARIABLE], data.parent)}


def workers(data: Path) -> Counter[Path]:
    """Return how many processes run for each session's folder."""
    found: Counter[Path] = Counter()
    for pid in processes(data):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == b"HOLDFAST_SESSION_DIR":
                found[Path(os.fsdecode(value)).parent] += 1
    return found


def flaws_of_journal(data: Path) -> Iterator[str]:
    """Yield what is wrong with the journal of a stopped server whose sessions have all been asked for.

    This also reaches the streams whose beginning no client ever saw. It knows the columns of schema 1.
    """
    path = next(path for path in data.iterdir() if path.suffix == ".db")
    with closing(sqlite3.connect(path)) as connection:
        for session, stream, openings, finals, asks in connection.execute(
            "SELECT session, stream, sum(kind = 0), sum(kind = 2), max(length(request)) FROM journal GROUP BY 1, 2"
        ):
            if openings != 1 or finals != (1 if asks else 0):
                yield f"one opening and one end of stream {stream} of row {session}; {openings} and {finals} are kept"
        for session, stream, count, last, terms_fall in connection.execute(
            "SELECT session, stream, count(*), max(seq), sum(term < before) FROM ("
            " SELECT session, stream, seq, term, lag(term) OVER (PARTITION BY session, stream ORDER BY seq) AS before"
            " FROM journal) GROUP BY 1, 2"
        ):
            if count != last + 1 or terms_fall:
                yield f"no gap and no falling term in stream {stream} of row {session}; {count} entries up to {last}"
