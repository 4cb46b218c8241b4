"""Replace a server that is under load, several times, and look whether anybody notices.

    python -m bench.keeper_replace [--switches 3] [--calm 4] [--callers 16] [--sleepers 4]

CALLERS connections that stay call the echo tool in a session each, a call every PACE_S seconds at most; SLEEPERS have
calls of half a second in flight all the time. After CALM seconds `holdfast serve --replace` starts beside the server;
the switch is over when the old server has ended; then again. A call that was not answered by its tool, an answer with
another status than 200, a connection that was refused or broke between requests: each is a failure. A stream that the
server ends before the answer is resumed, as a client does.

What calls took is what this program saw, which uses the same machine. Prints one JSON line for each switch and one with
the targets.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bench.http_load import ECHO, HEADERS, open_session
from bench.keeper_servers import Servers, servers
from bench.peers import ECHO_COMMAND
from bench.started import leave_on_sigterm

P99_MS_MAX: Final = 250.0
PACE_S: Final = 0.01
ANSWER_WITHIN_S: Final = 60.0
LEAVES_WITHIN_S: Final = 120.0
RESUMES_MAX: Final = 20
SLEEP: Final = {**ECHO, "params": {"name": "sleep", "arguments": {"seconds": 0.5}}}


class Made(NamedTuple):
    """One call: when it began and ended, and why it failed, if it did."""

    began_s: float
    ended_s: float
    failed: str | None


class Caller(threading.Thread):
    """Makes one call after the other over a connection that stays, until told to stop."""

    def __init__(self, port: int, session: str, message: dict[str, Any], answer: bytes) -> None:
        super().__init__(daemon=True)
        self.made: list[Made] = []
        self.stop = threading.Event()
        self._port = port
        self._headers = HEADERS | {"Mcp-Session-Id": session}
        self._message = message
        self._answer = answer
        self._ids = itertools.count(2)
        self._connection = self._connected()

    def run(self) -> None:
        while not self.stop.is_set():
            began_s = time.monotonic()
            failed = None
            try:
                self._call()
            except (OSError, http.client.HTTPException, ValueError) as error:
                failed = f"{type(error).__name__}: {error}"
                self._connection.close()
            self.made.append(Made(began_s, time.monotonic(), failed))
            self.stop.wait(PACE_S)
        self._connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_WITHIN_S)

    def _call(self) -> None:
        body = json.dumps(self._message | {"id": next(self._ids)})
        self._connection.request("POST", "/mcp", body, self._headers)
        answer = self._connection.getresponse()
        if answer.status != http.client.OK:
            raise ValueError(f"status {answer.status}: {answer.read()[:200]!r}")
        if not (answer.getheader("Content-Type") or "").startswith("text/event-stream"):
            self._check(answer.read())
            return
        event, said = _read_stream(answer)
        for _ in range(RESUMES_MAX):
            if said:
                self._check(said)
                return
            event, said = self._resume(event)
        raise ValueError(f"no answer after {RESUMES_MAX} times")

    def _resume(self, event: str) -> tuple[str, bytes]:
        connection = self._connected()
        headers = {**self._headers, "Accept": "text/event-stream", "Last-Event-ID": event}
        del headers["Content-Type"]
        try:
            connection.request("GET", "/mcp", headers=headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ValueError(f"resuming: status {answer.status}: {answer.read()[:200]!r}")
            later, said = _read_stream(answer)
            return later or event, said
        finally:
            connection.close()

    def _check(self, said: bytes) -> None:
        if self._answer not in said:
            raise ValueError(f"not the answer: {said[:200]!r}")


def _read_stream(stream: http.client.HTTPResponse) -> tuple[str, bytes]:
    """Return the last event's id and the answer, which is missing when the stream ended before."""
    event, retry_s = "", 0.0
    try:
        while line := stream.readline():
            name, _, value = line.strip().partition(b": ")
            if name == b"id":
                event = value.decode()
            elif name == b"retry":
                retry_s = int(value) / 1000
            elif name == b"data" and b'"id"' in value:
                stream.read()  # to the end, so that the connection can be used again
                return event, value
    except http.client.IncompleteRead:
        pass
    if not event:
        raise ValueError("a stream ended that cannot be resumed")
    time.sleep(retry_s)
    return event, b""


def summed_up(made: Sequence[Made]) -> dict[str, Any]:
    """Return what calls took, in milliseconds."""
    took_ms = sorted((call.ended_s - call.began_s) * 1000 for call in made)
    if not took_ms:
        return {"calls": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
    at = {"p50_ms": len(took_ms) // 2, "p99_ms": len(took_ms) * 99 // 100, "max_ms": len(took_ms) - 1}
    return {"calls": len(took_ms)} | {name: round(took_ms[index], 1) for name, index in at.items()}


def switch(found: Servers, old: subprocess.Popen[str]) -> tuple[subprocess.Popen[str], float, float]:
    """Replace `old`; return the new server, and when it began and when the old one had ended."""
    began_s = time.monotonic()
    new = found.start("--replace")
    code = old.wait(LEAVES_WITHIN_S)
    if code:
        raise RuntimeError(f"the server that was replaced ended with exit code {code}: {found.last_words}")
    return new, began_s, time.monotonic()


def within(callers: Sequence[Caller], began_s: float, ended_s: float) -> list[Made]:
    """Return the calls that were under way at some time between."""
    return [call for caller in callers for call in caller.made if call.began_s < ended_s and call.ended_s > began_s]


def measure(found: Servers, options: argparse.Namespace) -> tuple[list[dict[str, Any]], int]:
    """Return the figures of each switch, and how many calls failed in all."""
    old = found.start()
    echo = [Caller(found.port, open_session(found.url), ECHO, b"hello") for _ in range(options.callers)]
    sleep = [Caller(found.port, open_session(found.url), SLEEP, b"awake") for _ in range(options.sleepers)]
    for caller in (*echo, *sleep):
        caller.start()
    switches = []
    for number in range(options.switches):
        calm_s = time.monotonic()
        time.sleep(options.calm)
        old, began_s, ended_s = switch(found, old)
        switches.append((calm_s, began_s, ended_s))
        if number == options.switches - 1:
            time.sleep(options.calm)  # what fails only later fails too
    for caller in (*echo, *sleep):
        caller.stop.set()
    for caller in (*echo, *sleep):
        caller.join(ANSWER_WITHIN_S)
    failed = [call.failed for caller in (*echo, *sleep) for call in caller.made if call.failed]
    figures = []
    for calm_s, began_s, ended_s in switches:
        before, during = within(echo, calm_s, began_s), within(echo, began_s, ended_s)
        long = len(within(sleep, began_s, ended_s))
        took = {"took_s": round(ended_s - began_s, 2), "long_calls": long}
        figures.append(took | {"before": summed_up(before), "during": summed_up(during)})
        print(json.dumps({"name": "replaced under load"} | figures[-1]), flush=True)
    print(json.dumps({"name": "failures", "failed": len(failed), "first": failed[:3]}), flush=True)
    return figures, len(failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("switches", 3), ("calm", 4), ("callers", 16), ("sleepers", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    leave_on_sigterm()
    try:
        with servers(command=ECHO_COMMAND) as found:
            figures, failed = measure(found, options)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        sys.exit(f"replace: {error}")
    p99_ms = max(figure["during"]["p99_ms"] for figure in figures)
    targets = {
        "calls that failed while servers were replaced": {"at_most": 0, "reached": failed, "met": not failed},
        "p99 while a server is replaced, the worst, ms": {
            "at_most": P99_MS_MAX,
            "reached": p99_ms,
            "met": p99_ms < P99_MS_MAX,
            "before": [figure["before"]["p99_ms"] for figure in figures],
        },
    }
    print(json.dumps({"targets": targets}))


if __name__ == "__main__":
    main()
