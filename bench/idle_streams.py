"""Measure what an idle session with an open GET stream costs, and whether thousands of them slow others down.

    python -m bench.idle_streams [--streams 5000] [--seconds 40] [--calm 10] [--descriptors N]

One server, in this order: 16 sessions call the echo tool for CALM seconds; STREAMS sessions are opened, then a GET
stream in each; the 16 sessions call for SECONDS; the streams are closed; the 16 call for CALM seconds again. In 40
seconds two or three rounds of signs of life (one every 15 s) go to every stream: they are counted when all is over, so
that reading them takes nothing from the server while it is measured.

Memory is what /proc says (Pss, kB) of the server and of the keeper, before, with the sessions, and with their streams;
workers are told apart: one is a shell script of some 100 kB of its own (bench/idle_worker.sh). The server is started
with a soft limit of DESCRIPTORS, by default as many as the hard limit allows: it needs one for each stream, and the
keeper, which raises its limit by itself, three for each session. Prints one JSON line for each step and one with the
targets. Needs wrk, and about 200 kB of memory a stream.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.http_load import HEADERS, INITIALIZE, INITIALIZED, check, drive, open_session
from bench.peers import with_idle_sessions
from bench.started import Started, leave_on_sigterm, running

OPENERS: Final = 16
TRIES_MAX: Final = 20
ANSWER_WITHIN_S: Final = 120.0
END_WITHIN_S: Final = 120.0
CALLING: Final = 16
BEAT_EVERY_S: Final = 15.0
SIGN_OF_LIFE: Final = b"\r\n:\n\n\r\n"  # a comment, as a chunk of its own
DESCRIPTORS_A_SESSION: Final = 3
DESCRIPTORS_ELSE: Final = 512
STREAM_KB_MAX: Final = 60.0
P99_GROWS_MAX: Final = 1.1
WORKERS_LOOKED_AT: Final = 50

T = TypeVar("T")
Figures = dict[str, Any]
_local = threading.local()


def memory_kb(pid: int) -> int:
    """Return what a process holds of memory that is not shared, and its part of what is."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/smaps_rollup says nothing of Pss")


def keeper_of(started: Started) -> int:
    """Return the process that owns the workers: the child of the server that has children."""
    found = [pid for pid in children(started.pid) if b"holdfast_keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} keepers were found, not one")
    return found[0]


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for at in Path(f"/proc/{pid}/task").iterdir() for child in (at / "children").read_text().split()]


def memory(started: Started, keeper: int) -> dict[str, int]:
    """Return the memory of server and keeper in kB."""
    return {"server": memory_kb(started.pid), "keeper": memory_kb(keeper)}


def worker_kb(keeper: int) -> float:
    """Return the mean memory of the workers that came last."""
    looked_at = sorted(children(keeper))[-WORKERS_LOOKED_AT:]
    return round(sum(memory_kb(pid) for pid in looked_at) / max(1, len(looked_at)), 1)


def request(port: int, message: dict[str, Any], session: str | None = None) -> str:
    """Send one message over this thread's connection; return the session that the answer names, or ''."""
    headers = HEADERS | ({"Mcp-Session-Id": session} if session else {})
    for _ in range(TRIES_MAX):
        if not hasattr(_local, "connection"):
            _local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
        _local.connection.request("POST", "/mcp", json.dumps(message), headers)
        answer = _local.connection.getresponse()
        said = answer.read()
        if answer.status != http.client.SERVICE_UNAVAILABLE:
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    if answer.status not in (200, 202):
        raise RuntimeError(f"{message['method']} was answered with {answer.status}: {said[:300]!r}")
    return answer.headers["Mcp-Session-Id"] or ""


def idle_session(port: int) -> str:
    """Return the id of a new session."""
    session = request(port, INITIALIZE)
    request(port, INITIALIZED, session)
    return session


def idle_stream(port: int, session: str) -> socket.socket:
    """Return a connection whose GET stream has begun: its first event, which makes it resumable, has come."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN_S)
    head = (
        f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\r\n"
    )
    connection.sendall(head.encode())
    came = b""
    while b"data:\n\n\r\n" not in came:
        more = connection.recv(4096)
        came += more
        if not more or not came.startswith(b"HTTP/1.1 200"[: len(came)]):
            raise RuntimeError(f"a GET stream did not open: {came[:300]!r}")
    return connection


def all_done(act: Callable[..., T], *arguments: list[Any]) -> list[T]:
    """Return the results of `act` for each of the arguments, done by `OPENERS` threads; the first error ends it."""
    with ThreadPoolExecutor(OPENERS) as pool:
        try:
            return list(pool.map(act, *arguments))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def signs_of_life(connection: socket.socket) -> int:
    """Return how many comments have come on a stream; -1 when the server has ended it."""
    connection.setblocking(False)
    came = b""
    with contextlib.suppress(BlockingIOError):
        while more := connection.recv(65536):
            came += more
        return -1
    return (b"\r\n" + came).count(SIGN_OF_LIFE)


def step(name: str, began: float, **figures: Any) -> None:
    """Print one line."""
    print(json.dumps({"name": f"idle streams: {name}", "took_s": round(time.monotonic() - began, 1)} | figures))
    sys.stdout.flush()


def called(url: str, sessions: list[str], seconds: int) -> Figures:
    """Return what one load of echo calls measured."""
    found = drive(url, sessions, CALLING, seconds)
    kept = ("rps", "p50_ms", "p99_ms", "p999_ms", "max_ms")
    return {name: found[name] for name in kept} | {"errors": found["not_2xx"] + found["socket_errors"]}


def measure(started: Started, options: argparse.Namespace, flag: Path) -> Figures:
    """Do all steps on a server that has just started; return what the targets are about."""
    port, count = started.port, options.streams
    began = time.monotonic()
    calling = [open_session(started.url) for _ in range(CALLING)]
    keeper = keeper_of(started)
    for session in calling:
        check(started.url, session)
    calm = called(started.url, calling, options.calm)
    before = memory(started, keeper)
    step("without", began, calls=calm, kb=before)
    flag.touch()
    began = time.monotonic()
    sessions = all_done(idle_session, [port] * count)
    with_sessions = memory(started, keeper)
    step(f"{count} sessions", began, kb=with_sessions, worker_kb=worker_kb(keeper))
    began = time.monotonic()
    connections = all_done(idle_stream, [port] * count, sessions)
    with_streams = memory(started, keeper)
    step(f"{count} streams", began, kb=with_streams)
    began = time.monotonic()
    calls = called(started.url, calling, options.seconds)
    loaded = memory(started, keeper)
    signs = [signs_of_life(connection) for connection in connections]
    step("with", began, calls=calls, kb=loaded, signs_of_life=[min(signs), max(signs)])
    for connection in connections:
        connection.close()
    began = time.monotonic()
    again = called(started.url, calling, options.calm)
    step("without, again", began, calls=again, kb=memory(started, keeper))
    if min(signs) < int(options.seconds / BEAT_EVERY_S):
        raise RuntimeError(f"a stream had {min(signs)} signs of life in {options.seconds} s (-1: it was ended)")
    return reached(count, [before, with_sessions, with_streams], [calm, calls, again])


def reached(count: int, memories: list[dict[str, int]], loads: list[Figures]) -> Figures:
    """Return the targets beside what was reached, and where the memory went."""
    before, with_sessions, with_streams = memories
    calm, calls, again = (load["p99_ms"] for load in loads)
    total = sum(with_streams.values()) - sum(before.values())
    grows = calls / max(calm, again)
    shares = {
        f"{part}, for the {what}": round((later[part] - earlier[part]) / count, 2)
        for part in before
        for what, earlier, later in (("session", before, with_sessions), ("stream", with_sessions, with_streams))
    }
    return {
        "kB of server and keeper for a session with its stream": {
            "at_most": STREAM_KB_MAX,
            "reached": round(total / count, 2),
            "met": total / count <= STREAM_KB_MAX,
            "parts": shares,
        },
        "p99 with the streams / without, the slower of before and after": {
            "at_most": P99_GROWS_MAX,
            "reached": round(grows, 3),
            "met": grows <= P99_GROWS_MAX,
            "p99_ms": [calm, calls, again],
        },
    }


def raise_descriptors(streams: int, soft: int | None) -> None:
    """Let this process have what it needs, and the server what was asked for.

    Raises:
        RuntimeError: The hard limit is too low.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = DESCRIPTORS_A_SESSION * (streams + CALLING) + DESCRIPTORS_ELSE
    if hard < needed:
        raise RuntimeError(f"{streams} sessions need {needed} descriptors in one process; ulimit -Hn is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft or hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=40, help="of calls while the streams are open")
    parser.add_argument("--calm", type=int, default=10, help="of calls before and after")
    parser.add_argument("--descriptors", type=int, help="the soft limit that the server is started with")
    options = parser.parse_args()
    leave_on_sigterm()
    try:
        raise_descriptors(options.streams, options.descriptors)
        peer = with_idle_sessions("--max-sessions", str(options.streams + 2 * CALLING))
        with running(peer, end_within_s=END_WITHIN_S) as started:
            raise_descriptors(options.streams, None)
            try:
                targets = measure(started, options, started.place / "idle")
            except (OSError, RuntimeError) as error:
                log = (started.place / "log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"{error}; the server's last words: {log}") from error
    except (OSError, RuntimeError) as error:
        sys.exit(f"idle streams: {error}")
    print(json.dumps({"targets": targets}))


if __name__ == "__main__":
    main()
