"""Time how a server takes over what one that was killed with -9 left with the keeper, and measure the keeper's memory.

    python -m bench.keeper_takeover [--live 100] [--idle 1000] [--seconds 6]

LIVE sessions have a call in flight each when their server is killed; the calls last SECONDS and are answered while no
server is there. Then a server is started. What its takeover takes is counted from the start of its process, the start
of the interpreter included, until the keeper knows that every answer is journaled. Then every client resumes its call
and must be answered. The same with IDLE sessions, whose workers are shell scripts (bench/idle_worker.sh): here a
session is taken over when its worker answers to the new server, and then each is used. No worker may have been started
anew.

Memory is what /proc says of the keeper (Pss and, as `uss`, what it shares with nobody; kB) without and with the idle
sessions. Prints one JSON line for each step and one with the targets.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import time
from typing import Any, Final, NamedTuple

from bench.http_load import HEADERS
from bench.idle_streams import ANSWER_WITHIN_S, all_done, idle_session, request
from bench.keeper_servers import Servers, servers, until
from bench.peers import BENCH, ECHO, ECHO_COMMAND
from bench.started import leave_on_sigterm

LIVE_S_MAX: Final = 1.0
IDLE_S_MAX: Final = 2.0
KEEPER_KB_MAX: Final = 20 * 1024
SESSION_KB_MAX: Final = 5.0
TAKEN_OVER_WITHIN_S: Final = 120.0
END_WITHIN_S: Final = 120.0
USED: Final = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}

Figures = dict[str, Any]


class Begun(NamedTuple):
    """A call in flight: its session, its connection, and the place of its answer's stream."""

    session: str
    connection: http.client.HTTPConnection
    event: str


def begin_call(port: int, session: str, seconds: float) -> Begun:
    """Begin a call that lasts so long; return once its stream can be resumed."""
    params = {"name": "sleep", "arguments": {"seconds": seconds}}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
    connection.request("POST", "/mcp", json.dumps(message), HEADERS | {"Mcp-Session-Id": session})
    stream = connection.getresponse()
    while line := stream.readline().decode():
        if line.startswith("id:"):
            return Begun(session, connection, line.removeprefix("id:").strip())
    raise RuntimeError(f"a call has no stream to resume: {stream.status}")


def resume(port: int, call: Begun) -> None:
    """Return once the call is answered to its client, which comes back."""
    call.connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
    headers = {"Accept": "text/event-stream", "Mcp-Session-Id": call.session, "Last-Event-ID": call.event}
    connection.request("GET", "/mcp", headers=headers)
    stream = connection.getresponse()
    while line := stream.readline().decode():
        if line.startswith("data:") and "awake" in line:
            connection.close()
            return
    raise RuntimeError(f"a call was not answered after the takeover: {stream.status}")


def kill(server: subprocess.Popen[str]) -> None:
    """End a server as a crash would."""
    server.kill()
    server.wait()


def taken_over(found: Servers, pids: set[int], server: int, *, journaled: bool) -> bool:
    """Return whether every worker answers to `server`, and with `journaled` whether all they said is."""
    workers = found.keeper().workers
    if {worker.pid for worker in workers} != pids:
        raise RuntimeError(f"of {len(pids)} workers {len({worker.pid for worker in workers} & pids)} are left")
    return all(worker.server == server and not (journaled and worker.waiting_frames) for worker in workers)


def take_over(found: Servers, *, journaled: bool) -> Figures:
    """Start a server and return what its takeover took."""
    pids = {worker.pid for worker in found.keeper().workers}
    server = found.start()
    done = until(lambda: taken_over(found, pids, server.pid, journaled=journaled), "the takeover", TAKEN_OVER_WITHIN_S)
    return {
        "sessions": len(pids),
        "listens_after_s": round(found.ready_s - found.began_s, 3),
        "taken_over_after_s": round(done - found.began_s, 3),
    }


def step(name: str, figures: Figures) -> None:
    """Print one line."""
    print(json.dumps({"name": f"takeover: {name}"} | figures), flush=True)


def live(count: int, seconds: float) -> Figures:
    """Take over sessions with calls in flight; return the figures."""
    with servers("--answer", "stream", command=ECHO_COMMAND) as found:
        server = found.start()
        sessions = all_done(idle_session, [found.port] * count)
        calls = all_done(begin_call, [found.port] * count, sessions, [seconds] * count)
        kill(server)
        # An answer that waits, for each; what was said before is acknowledged.
        until(lambda: all(w.waiting_frames for w in found.keeper().workers), "the answers", seconds + 60)
        figures = take_over(found, journaled=True)
        began_s = time.monotonic()
        all_done(resume, [found.port] * count, calls)
        return figures | {"then_all_resumed_s": round(time.monotonic() - began_s, 3)}


def idle(count: int) -> tuple[Figures, Figures]:
    """Take over sessions in which nothing happens; return the figures and the keeper's memory."""
    command = ("sh", str(BENCH / "idle_worker.sh"), "{place}/idle", str(ECHO))
    with servers("--max-sessions", str(count + 16), command=command, end_within_s=END_WITHIN_S) as found:
        (found.place / "idle").touch()
        server = found.start()
        memory: Figures = {"without": found.keeper_memory_kb()}
        sessions = all_done(idle_session, [found.port] * count)
        memory["with"] = found.keeper_memory_kb()
        kill(server)
        memory["with, no server"] = found.keeper_memory_kb()
        figures = take_over(found, journaled=False)
        began_s = time.monotonic()
        all_done(request, [found.port] * count, [USED] * count, sessions)
        return figures | {"then_each_used_s": round(time.monotonic() - began_s, 3)}, memory


def at_most(bound: float, reached: float) -> Figures:
    """Return a target beside what was reached."""
    return {"at_most": bound, "reached": round(reached, 3), "met": reached <= bound}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("live", 100), ("idle", 1000), ("seconds", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    leave_on_sigterm()
    try:
        lives = live(options.live, options.seconds)
        step("calls in flight", lives)
        idles, memory = idle(options.idle)
        step("idle sessions", idles)
        step("the keeper's memory, kB", memory)
    except (OSError, RuntimeError) as error:
        sys.exit(f"takeover: {error}")
    session_kb = (memory["with"]["pss"] - memory["without"]["pss"]) / options.idle
    targets = {
        f"takeover of {options.live} sessions with a call in flight, s": at_most(
            LIVE_S_MAX, lives["taken_over_after_s"]
        ),
        f"takeover of {options.idle} idle sessions, s": at_most(IDLE_S_MAX, idles["taken_over_after_s"]),
        f"the keeper with {options.idle} sessions, kB": at_most(
            KEEPER_KB_MAX + SESSION_KB_MAX * options.idle, memory["with"]["pss"]
        ),
        "the keeper for each session, kB": at_most(SESSION_KB_MAX, session_kb),
    }
    print(json.dumps({"targets": targets}))


if __name__ == "__main__":
    main()
