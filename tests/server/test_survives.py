"""What outlives the server, the worker and a stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.stores.sqlite import SqliteStore
from tests.keeper.habits import alive
from tests.kit import PROBE, McpClient, Served, eventually, keeper_of, serving

pytestmark = pytest.mark.slow

INTERRUPTED = -32050


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "data", command=PROBE) as server:
        yield server


def call_params(tool: str, token: str | None = None, **arguments: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    return params | ({"_meta": {"progressToken": token}} if token else {})


def test_a_session_answers_after_the_server_and_its_keeper_were_killed(served: Served) -> None:
    """The handshake is replayed, the log level and the subscriptions with it; nobody initializes again."""
    client = served.opened()
    client.request("logging/setLevel", {"level": "warning"})
    client.request("resources/subscribe", {"uri": "file:///a"})
    client.request("resources/subscribe", {"uri": "file:///b"})
    client.request("resources/unsubscribe", {"uri": "file:///a"})
    client.call("write", name="note", text="kept")
    place = client.call("where")
    served.kill_all()
    served.start()
    heard = json.loads(client.call("heard"))
    assert heard == [
        "initialize",
        "notifications/initialized",
        "logging/setLevel warning",
        "resources/subscribe file:///b",
        "tools/call",
    ]
    assert client.call("where") == place
    assert (Path(place) / "note").read_text() == "kept"


def test_a_worker_is_respawned_once_however_many_requests_race(served: Served) -> None:
    client = served.opened()
    before = client.call("pid")
    served.kill_all()
    served.start()
    pids = []

    def call(number: int) -> None:
        reply = McpClient(served.port, client.session).request("tools/call", call_params("pid"), id=f"r{number}")
        answer = reply.answer()
        pids.append(answer["result"]["content"][0]["text"])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 16
    assert len({before, *pids}) == 2


def test_a_stream_resumes_after_server_and_keeper_were_killed_and_says_what_was_interrupted(served: Served) -> None:
    client = served.opened()
    params = call_params("progress", "t", n=100_000, pause=0.01)
    with client.request("tools/call", params, id="long") as reply:
        events = reply.events()
        seen = [next(events) for _ in range(6)]
        served.kill_all()
        seen += list(events)
    served.start()
    resumed = list(client.get(seen[2].id).events())
    numbers = [event.message["params"]["progress"] for event in resumed[:-1]]
    assert numbers == list(range(2, 2 + len(numbers)))  # every journaled message after it, exactly once, in order
    assert [event.id for event in resumed[: len(seen) - 3]] == [event.id for event in seen[3:]]
    last = resumed[-1].message
    assert (last["id"], last["error"]["code"]) == ("long", INTERRUPTED)
    again = list(client.get(seen[0].id).events())
    assert [event.id for event in again[2:]] == [event.id for event in resumed]


def test_an_answer_in_the_journal_outlives_the_server(served: Served) -> None:
    client = served.opened()
    place = Path(client.call("where"))
    with client.request("tools/call", call_params("wait", name="go"), id="s") as reply:
        (place / "go").touch()
        opening, answer = list(reply.events())
    served.kill()
    served.start()
    assert [event.message for event in client.get(opening.id).events()] == [answer.message]


def test_a_get_stream_goes_on_with_the_next_server(served: Served) -> None:
    client = served.opened()
    with client.get() as stream:
        opening = next(stream.events())
        served.kill()
    served.start()
    with client.get(opening.id) as stream:
        messages = (event.message for event in stream.events() if event.message is not None)
        client.call("changed")
        assert next(messages)["method"] == "notifications/tools/list_changed"


def test_a_crash_of_the_worker_alone_is_told_and_mended(served: Served) -> None:
    client = served.opened()
    assert client.call("count") == "1"
    error = client.call("crash", code=3)
    assert error["code"] == INTERRUPTED
    assert "code 3" in error["message"]
    assert client.call("count") == "1"  # a new process, whose memory is new


def test_a_crash_ends_a_stream_with_the_same_error(served: Served) -> None:
    client = served.opened()
    with client.request("tools/call", call_params("progress", "t", n=100_000, pause=0.01), id="p") as reply:
        events = reply.events()
        opening = next(events)
        next(events)
        client.call("crash")
        last = list(events)[-1].message
    assert (last["id"], last["error"]["code"]) == ("p", INTERRUPTED)
    assert list(client.get(opening.id).events())[-1].message == last


def test_a_keeper_that_dies_is_no_crash_of_the_server_behind_it(served: Served) -> None:
    """R-KEE-3: sessions survive, however often; workers are started again."""
    client = served.opened()
    for _ in range(6):
        before = client.call("pid")
        os.kill(keeper_of(served.data), signal.SIGKILL)
        eventually(lambda before=before: client.call("pid") not in (before, None))  # type: ignore[misc]  # a default binds
    assert client.call("echo", text="still here") == "still here"


def test_five_crashes_in_a_minute_end_the_session(served: Served) -> None:
    client = served.opened()
    for _ in range(4):
        client.call("crash")
    served.kill()
    served.start()  # the count outlives the server
    client.call("crash")
    eventually(lambda: client.request("ping").status == 404)
    assert "5 crashes within 60 s" in served.log


def test_a_stop_lets_calls_finish_and_keeps_the_sessions(served: Served) -> None:
    client = served.opened()
    answers: list[Any] = []
    with client.get() as stream, client.request("tools/call", call_params("sleep", seconds=2.0), id="s") as reply:
        events = reply.events()
        assert next(events).message is None
        waiting = threading.Thread(target=lambda: answers.extend(event.message for event in events))
        waiting.start()
        code = served.terminate()
        waiting.join()
        endings = list(stream.events())
    assert code == 0
    assert answers[-1]["result"]["content"][0]["text"] == "awake"
    assert endings[-1].retry_ms == 2000
    served.start()
    assert client.call("echo", text="again") == "again"


def test_a_session_ends_when_unused_and_takes_its_worker_and_folder_along(tmp_path: Path) -> None:
    """R-MGR-3, R-STO-5: calls in flight and open streams count as use."""
    with serving(tmp_path / "data", "--session-timeout", "3s", command=PROBE) as served:
        client = served.opened()
        place = Path(client.call("where"))
        assert client.call("sleep", seconds=4.5) == "awake"
        listener = served.opened()
        with listener.get():
            eventually(lambda: not place.exists())
            assert client.request("ping").status == 404
            assert listener.call("echo", text="a") == "a"


def test_a_server_that_comes_back_speaking_another_version_ends_the_session(served: Served) -> None:
    client = served.opened()
    served.kill_all()
    served.options = ("--env", "PROBE_PROTOCOL=2025-03-26")
    served.start()
    assert client.request("ping").status == 404
    assert "2025-03-26" in served.log


def test_a_worker_that_does_not_start_again_is_an_error_not_a_lost_session(served: Served) -> None:
    client = served.opened()
    place = Path(client.call("where"))
    client.call("write", name="fail")
    served.kill_all()
    served.start()
    reply = client.request("ping")
    assert (reply.status, "told to fail" in reply.json()["error"]["message"]) == (503, True)
    (place / "fail").unlink()
    eventually(lambda: client.request("ping").status == 200)  # not tried again at once, but soon
    assert client.call("echo", text="back") == "back"


def test_what_a_worker_left_behind_ends_with_its_keeper(served: Served) -> None:
    """R-ISO-1: never orphaned, even by a double fork, even after kill -9 of server and keeper."""
    one, two = served.opened(), served.opened()
    strays = [Path("/proc") / client.call("daemon") for client in (one, two)]
    assert all(stray.exists() for stray in strays)
    one.delete()
    eventually(lambda: not strays[0].exists())
    assert strays[1].exists()
    served.kill()
    assert strays[1].exists()
    os.kill(keeper_of(served.data), signal.SIGKILL)
    served.start()
    assert two.call("echo", text="a") == "a"
    assert not alive(int(strays[1].name))


def test_a_stop_does_not_wait_for_a_worker_that_starts(tmp_path: Path) -> None:
    slow = (sys.executable, "-c", "import sys; sys.stdin.read()")
    with serving(tmp_path / "data", command=slow) as served:
        replies: list[int] = []
        asking = threading.Thread(target=lambda: replies.append(served.client().request("initialize", {}).status))
        asking.start()
        eventually(lambda: list((served.data / "sessions").iterdir()))
        assert served.terminate() == 0
        asking.join()
    assert replies == [503]


def test_a_second_signal_ends_the_wait(served: Served) -> None:
    client = served.opened()
    with client.request("tools/call", call_params("mute"), id="m") as reply:
        events = reply.events()
        opening = next(events)
        assert served.process is not None
        served.process.send_signal(signal.SIGINT)
        assert served.process.stdout is not None
        assert "calls in flight (1)" in served.process.stdout.readline()
        assert served.terminate() == 0
    served.start()
    last = list(client.get(opening.id).events())[-1].message
    assert (last["id"], last["error"]["code"]) == ("m", INTERRUPTED)


def test_a_stop_answers_what_it_cannot_wait_for(served: Served) -> None:
    """Drain is bounded; what is left then is told."""
    client = served.opened()
    with client.request("tools/call", call_params("mute"), id="m") as reply:
        events = reply.events()
        opening = next(events)
        assert served.terminate() == 0
        last = list(events)[-2:]
    assert last[0].message["error"]["code"] == INTERRUPTED
    assert "shutting down" in last[0].message["error"]["message"]
    served.start()
    assert list(client.get(opening.id).events())[-1].message == last[0].message


def test_a_call_that_is_cancelled_does_not_stay_for_ever(served: Served) -> None:
    """MCP 2025-11-25, "Cancellation": the server need not answer."""
    client = served.opened()
    with client.request("tools/call", call_params("mute"), id="m") as reply:
        events = reply.events()
        next(events)
        assert client.notify("notifications/cancelled", {"requestId": "m"}).status == 202
        last = list(events)[-1].message
    assert (last["id"], last["error"]["message"]) == ("m", "cancelled by the client")
    assert json.loads(client.call("heard"))[-2] == "notifications/cancelled"


def last_use_on_record(served: Served) -> float:
    with contextlib.closing(sqlite3.connect(served.data / "sessions.db")) as database:
        (found,) = database.execute("SELECT last_accessed FROM sessions").fetchone()
    return float(found)


def test_a_crash_of_the_server_does_not_lose_the_uses_before_it(tmp_path: Path) -> None:
    """R-STO-5: they are written while the session is used."""
    with serving(tmp_path / "data", "--session-timeout", "100s", command=PROBE) as served:
        client = served.opened()
        opened_at = last_use_on_record(served)
        eventually(lambda: client.call("echo", text="a") == "a" and last_use_on_record(served) > opened_at)
        served.kill()
        assert last_use_on_record(served) > opened_at
        served.start()
        assert client.call("echo", text="b") == "b"


async def make_idle(path: Path, session: str, idle_s: float) -> None:
    """Have a record say that its session was made, and used last, so long ago."""
    async with SqliteStore.open(path) as store:
        record = await store.get(session)
        assert record is not None
        then = record.last_accessed - idle_s
        await store.delete(session)
        await store.put(replace(record, version=1, created_at=then, last_accessed=then), expect=0)


def test_a_session_that_only_looks_expired_after_a_crash_goes_on(tmp_path: Path) -> None:
    """R-STO-5: its last uses may not have been written, for as long as 30 s when the timeout is an hour."""
    with serving(tmp_path / "data", "--session-timeout", "1h", command=PROBE) as served:
        client = served.opened()
        client.call("write", name="note", text="kept")
        place = Path(client.call("where"))
        served.kill()
        assert client.session is not None
        asyncio.run(make_idle(served.data / "sessions.db", client.session, 3600))
        served.start()
        served.opened()  # the folders have been looked through by now
        assert client.call("where") == str(place)
        assert (place / "note").read_text() == "kept"


def test_a_damaged_record_is_its_own_trouble_only(served: Served) -> None:
    """R-SEC-3, R-STO-2."""
    broken, sound = served.opened(), served.opened()
    served.kill()
    with contextlib.closing(sqlite3.connect(served.data / "sessions.db")) as database:
        database.execute("UPDATE sessions SET body = zeroblob(40) WHERE id = ?", (broken.session,))
        database.commit()
    served.start()
    assert broken.request("ping").status == 500
    assert sound.call("echo", text="a") == "a"
    assert served.opened().call("echo", text="new") == "new"
    assert broken.session is not None
    assert broken.session not in served.log


def test_a_resume_past_what_is_kept_says_so(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--journal-entries", "10", command=PROBE) as served:
        client = served.opened()
        with client.request("tools/call", call_params("progress", "t", n=50, pause=0.002), id="p") as reply:
            events = list(reply.events())

        def trimmed() -> bool:
            return len(list(client.get(events[0].id).events())) < 40

        eventually(trimmed, within_s=60)
        resumed = list(client.get(events[0].id).events())
    warning, answer = resumed[0], resumed[-1]
    assert (warning.id, warning.message["params"]["data"]["code"]) == (None, -32051)
    assert warning.message["params"]["data"]["lost"] > 30
    assert answer.message == events[-1].message
