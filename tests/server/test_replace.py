"""`serve --replace`: a server takes the place of a running one, and no client notices more than a stream that ended."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit import ECHO, PROBE, Served, eventually, free_port, keeper_of, serving
from tests.kit.client import BOTH, PROTOCOL

pytestmark = pytest.mark.slow

LONG_S: Final = 120.0
SESSIONS: Final = 50
LONG_CALLS: Final = 10


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "data", command=PROBE) as server:
        yield server


def replace(served: Served, *options: str) -> subprocess.Popen[str]:
    """Start a server in the place of the one that runs; return that one, which may still be leaving."""
    old = served.process
    assert old is not None
    served.start("--replace", *options)
    assert f"pid {old.pid}, which leaves" in "".join(served.said)
    return old


def gone(old: subprocess.Popen[str]) -> int:
    """Return the exit code of a server once it has left."""
    code = old.wait(LONG_S)
    assert old.stdout is not None
    old.stdout.close()
    return code


class Kept:
    """A client of one session on one connection; whatever ends that, and any error, fails the test."""

    def __init__(self, served: Served, session: str) -> None:
        self.session = session
        self._headers = {"Accept": BOTH, "MCP-Protocol-Version": PROTOCOL, "Mcp-Session-Id": session}
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=LONG_S)
        self._connection.connect()
        self._connection.auto_open = 0
        self._last_id = 0

    def close(self) -> None:
        self._connection.close()

    def call(self, tool: str, **arguments: Any) -> str:
        """Return the one answer of a tool; a stream that ends before it is resumed."""
        self.send(tool, **arguments)
        return self.answer()

    def send(self, tool: str, **arguments: Any) -> None:
        self._last_id += 1
        params = {"name": tool, "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": self._last_id, "method": "tools/call", "params": params})
        self._connection.request("POST", "/mcp", body, self._headers | {"Content-Type": "application/json"})

    def answer(self) -> str:
        messages, last_id = self._messages()
        while not messages:
            assert last_id is not None, "a stream ended that cannot be resumed"
            self._connection.request("GET", "/mcp", headers=self._headers | {"Last-Event-ID": last_id})
            more, last_id = self._messages(last_id)
            messages += more
        (message,) = messages
        assert message["id"] == self._last_id
        return str(message["result"]["content"][0]["text"])

    def answer_or_refusal(self) -> str | int:
        """Return the answer, or the status of one that says that the request was not served."""
        response = self._connection.getresponse()
        body = response.read().decode()
        return response.status if response.status != 200 else str(json.loads(body)["result"]["content"][0]["text"])

    def _messages(self, last_id: str | None = None) -> tuple[list[Any], str | None]:
        response = self._connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, (response.status, body)
        if response.getheader("content-type") == "application/json":
            return [json.loads(body)], last_id
        found = re.findall(r"^(id|data): (.+)$", body, re.MULTILINE)
        ids = [value for name, value in found if name == "id"]
        return [json.loads(value) for name, value in found if name == "data"], ids[-1] if ids else last_id


@contextmanager
def kept(served: Served, session: str | None = None) -> Iterator[Kept]:
    if session is None:
        session = served.opened().session
    assert session is not None
    with closing(Kept(served, session)) as client:
        yield client


class Load:
    """Clients that work until they are told to stop, or one of them meets what should not be."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._stop = threading.Event()
        self._under_way: list[Callable[[], bool]] = []
        self.done: list[Future[int]] = []

    def begin(self, threads: ThreadPoolExecutor) -> None:
        """Return when each of them has met the server."""
        works = [*[self._count] * SESSIONS, *[self._sleep] * LONG_CALLS, self._open_sessions, self._open_sessions]
        for work in works:
            begun = threading.Event()
            self.done.append(threads.submit(work, begun))
            self._under_way.append(begun.is_set)
        eventually(lambda: all(is_begun() for is_begun in self._under_way) or self.has_failed, within_s=LONG_S)

    @property
    def has_failed(self) -> bool:
        return any(future.done() for future in self.done) and not self._stop.is_set()

    def end(self) -> list[int]:
        """Return how often each has worked.

        Raises:
            Exception: What one of them met.
        """
        self._stop.set()
        return [future.result(LONG_S) for future in self.done]

    def _count(self, begun: threading.Event) -> int:
        """Call a tool that remembers how often it was called."""
        number = 0
        with kept(self._served) as client:
            while not self._stop.is_set() or number < 3:
                number += 1
                assert client.call("count") == str(number)
                begun.set()
        return number

    def _sleep(self, begun: threading.Event) -> int:
        """Have a call under way all the time."""
        number = 0
        with kept(self._served) as client:
            while not self._stop.is_set():
                number += 1
                begun.set()
                assert client.call("sleep", seconds=0.4) == "awake"
        return number

    def _open_sessions(self, begun: threading.Event) -> int:
        """Open sessions over new connections, one after the other."""
        number = 0
        while not self._stop.is_set():
            number += 1
            client = self._served.opened()
            assert client.call("count") == "1"
            assert client.delete().status == 204
            begun.set()
        return number


def test_no_request_fails_while_servers_are_replaced_under_load(tmp_path: Path) -> None:
    """R-KEE-1: two replacements in a row; no connection is refused or ends, each call is answered once."""
    with serving(tmp_path / "data", command=ECHO) as served, ThreadPoolExecutor(SESSIONS + LONG_CALLS + 2) as threads:
        load = Load(served)
        try:
            load.begin(threads)
            first = replace(served)
            second = replace(served)
            assert (gone(first), gone(second)) == (0, 0)
        finally:
            worked = load.end()
    assert all(worked)


def test_a_call_in_flight_answers_through_the_server_that_comes_after(served: Served) -> None:
    """R-KEE-1: its connection lives on, its stream ends with an event to resume from, its answer comes once."""
    with kept(served) as client:
        place = Path(client.call("where"))
        client.send("wait", name="go")
        eventually(lambda: served_calls(served) == 1)
        assert gone(replace(served)) == 0
        (place / "go").touch()
        assert client.answer() == "it is there"
        assert [client.call("count"), client.call("count")] == ["1", "2"]


def served_calls(served: Served) -> int:
    """Return how many calls the keeper knows that have no answer yet."""
    words = [PROBE[0], "-m", "holdfast", "keeper", "status", "--json", "--data", str(served.data)]
    status = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return sum(worker["calls"] for worker in status["workers"])


def test_a_stream_that_listens_goes_on_with_the_server_that_comes_after(served: Served) -> None:
    client = served.opened()
    with client.get() as reply:
        events = reply.events()
        assert client.call("changed", mark="before") == "told"
        seen = next(event for event in events if event.message is not None)
        old = replace(served)
        assert [event.message for event in events if event.message is not None] == []
    assert gone(old) == 0
    assert client.call("changed", mark="after") == "told"
    with client.get(seen.id) as reply:
        message = next(event.message for event in reply.events() if event.message is not None)
    assert message["params"] == {"_meta": {"mark": "after"}}


def test_a_server_that_hangs_is_replaced_and_never_serves_again(served: Served) -> None:
    """R-KEE-2: it is paused by SIGSTOP; when it goes on it only passes on the connections it still has."""
    with kept(served) as idle, kept(served) as asking, ExitStack() as paused:
        assert (idle.call("count"), asking.call("count")) == ("1", "1")
        old = served.process
        assert old is not None
        old.send_signal(signal.SIGSTOP)
        paused.callback(old.send_signal, signal.SIGCONT)
        asking.send("count")  # nobody reads it now
        replace(served)
        with kept(served, idle.session) as another:
            assert another.call("count") == "2"
            paused.close()
            assert gone(old) == 0
            assert (idle.call("count"), another.call("count")) == ("3", "4")
        assert asking.answer_or_refusal() in ("2", 503), "it is refused, or answered by the new one; never left open"
        assert asking.call("count") in ("2", "3")


def test_a_server_takes_the_place_of_one_at_another_address(served: Served) -> None:
    """R-KEE-1: who is connected stays so; the address of the old one refuses once it is gone."""
    with kept(served) as client:
        assert client.call("count") == "1"
        before, served.port = served.port, free_port()
        assert gone(replace(served)) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", before), LONG_S)
        assert client.call("count") == "2"
        with kept(served, client.session) as another:
            assert another.call("count") == "3"


def test_one_server_after_another_is_replaced_and_killed(served: Served) -> None:
    """R-KEE-1: and the data directory belongs to one server at a time."""
    client = served.opened()
    assert client.call("count") == "1"
    assert gone(replace(served)) == 0
    assert served.process is not None
    refused = start(served)
    assert refused.returncode == 2 and f"pid {served.process.pid}" in refused.stderr
    served.kill()
    served.start()
    assert client.call("count") == "2"
    assert gone(replace(served)) == 0
    assert client.call("count") == "3"


def test_a_server_that_cannot_start_leaves_the_one_that_serves_alone(served: Served) -> None:
    client = served.opened()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = start(served, "--replace", "--port", str(taken.getsockname()[1]))
    assert refused.returncode == 2 and "cannot be used" in refused.stderr
    refused = start(served, "--replace", "--store", "memory://")
    assert refused.returncode == 2 and "--store memory://" in refused.stderr
    assert client.call("count") == "1"
    assert gone(replace(served)) == 0
    assert client.call("count") == "2"


def start(served: Served, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that does not come to serve."""
    words = ["serve", "--port", str(served.port), "--data", str(served.data), *options, "--", *served.command]
    return subprocess.run(
        [PROBE[0], "-m", "holdfast", *words], capture_output=True, text=True, timeout=LONG_S, check=False
    )


def test_a_server_is_replaced_after_its_keeper_died(served: Served) -> None:
    """R-KEE-3: it opens its door at the next keeper."""
    client = served.opened()
    assert client.call("count") == "1"
    os.kill(keeper_of(served.data), signal.SIGKILL)
    eventually(lambda: client.call("count") == "1")
    assert gone(replace(served)) == 0
    assert client.call("count") in ("2", "3")


def test_with_nobody_to_replace_a_server_simply_starts(tmp_path: Path) -> None:
    served = Served(tmp_path / "data", ECHO, (), None)
    served.start("--replace")
    client = served.opened()
    assert client.call("count") == "1"
    served.kill()
    served.start("--replace")
    assert client.call("count") == "2"
    assert served.terminate() == 0


def test_who_has_the_data_directory_and_does_not_serve_is_not_replaced(tmp_path: Path) -> None:
    served = Served(tmp_path / "data", ECHO, (), None)
    served.start()
    assert served.terminate() == 0
    with (served.data / "server.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = start(served, "--replace")
    assert refused.returncode == 2 and "does not serve" in refused.stderr
