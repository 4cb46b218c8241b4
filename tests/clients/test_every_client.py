"""Clients that nobody here wrote or changed, before `holdfast serve`: R-MCP-6.

What each can do is the table of docs/clients.md; a client that does more or less than it says there fails. Each client
has one session for most tests, in the order of the file, since a server on the SDK takes a second to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.model.jsonrpc import INTERRUPTED
from tests.kit import PROBE, Served, serving

from .driving import DRIVEN, ENDS, PYTHON_AUTO, SDK_V1, TALKING, V2_AUTO, Driver, Gone
from .front import Front, in_front
from .table import promised

pytestmark = pytest.mark.slow

NEW_TOOLS = {"noticed": "notifications/tools/list_changed"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("talking") / "data", command=TALKING) as server:
        yield server


@pytest.fixture(scope="module")
def front(served: Served) -> Iterator[Front]:
    with in_front(served.port) as front:
        yield front


@pytest.fixture(scope="module", params=DRIVEN)
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def driver(client: str, front: Front) -> Iterator[Driver]:
    front.patient = True
    with Driver(client, url(front)) as driver:
        yield driver


def url(server: Served | Front) -> str:
    return f"http://127.0.0.1:{server.port}/mcp"


def can(client: str, what: str) -> bool:
    return promised()[client][what] == "yes"


def outcome(driver: Driver) -> dict[str, Any]:
    """Return how a call ended; if it took the client along, that is nothing."""
    try:
        return driver.call("recall")
    except Gone:
        return {}


def test_it_connects_lists_and_calls(client: str, driver: Driver) -> None:
    """Also one that asks for the revision 2026-07-28 first, which is not served here, and falls back by itself."""
    assert driver.connected == "2025-11-25"
    driver.tell(do="list")
    assert driver.until("tools")["tools"][:2] == ["echo", "count"]
    assert (driver.call("echo", text="é\u2028\n") == {"answer": "é\u2028\n"}) is can(client, "lists and calls")


def test_it_hears_progress_before_the_answer(client: str, driver: Driver) -> None:
    before = len(driver.heard)
    driver.call("count", upto=3)
    told = driver.heard[before:]
    assert (told == [{"progress": n} for n in (1, 2, 3)] + [{"answer": "counted to 3"}]) is can(client, "progress")


def test_it_answers_a_question_while_its_call_waits(client: str, driver: Driver) -> None:
    before = len(driver.heard)
    driver.call("greet")
    told = driver.heard[before:]
    assert (told == [{"asked": "What is your name?"}, {"answer": "hello Ada"}]) is can(client, "questions")


def test_session_call_and_messages_outlive_the_server(
    client: str, driver: Driver, served: Served, tmp_path: Path
) -> None:
    """R-KEE-1: the call ends while no server is there, and its client hears how."""
    driver.call("remember", text=client)
    driver.tell(do="call", tool="wait_for", arguments={"path": str(tmp_path / "told")})
    driver.until("progress")
    served.kill()
    (tmp_path / "written").write_text("it came")
    (tmp_path / "written").rename(tmp_path / "told")  # so that nobody finds half of it
    served.start()
    assert (driver.until(*ENDS) == {"answer": "it came"}) is can(client, "a call in flight at `kill -9`")
    before = len(driver.heard)
    driver.call("change")
    if NEW_TOOLS not in driver.heard[before:]:
        driver.until("noticed")
    assert (NEW_TOOLS in driver.heard[before:]) is can(client, "messages after a restart")
    assert (driver.call("recall") == {"answer": client}) is can(client, "the session after a restart")


def test_a_call_whose_worker_died_with_its_server_is_told_so(client: str, driver: Driver, served: Served) -> None:
    """R-KEE-3: nobody is left who could answer; the session goes on with another worker."""
    driver.tell(do="call", tool="wait_for", arguments={"path": str(served.data / "never")})
    driver.until("progress")
    served.kill_all()
    served.start()
    told = driver.until(*ENDS)
    assert (told.get("code") == INTERRUPTED) is can(client, "told when its worker died too")
    assert (driver.call("recall") == {"answer": client}) is can(client, "the session after a restart")


def test_a_call_goes_on_while_the_server_is_replaced(
    client: str, driver: Driver, served: Served, tmp_path: Path
) -> None:
    """R-KEE-1: the call begins at one server and ends at the next, and so does the call after it."""
    driver.tell(do="call", tool="wait_for", arguments={"path": str(tmp_path / "told")})
    driver.until("progress")
    old = served.process
    served.start("--replace")
    assert old is not None and old.stdout is not None
    with old.stdout:
        assert old.wait(60) == 0
    (tmp_path / "written").write_text("it came")
    (tmp_path / "written").rename(tmp_path / "told")
    goes_on = driver.until(*ENDS) == {"answer": "it came"} and driver.call("recall") == {"answer": client}
    assert goes_on is can(client, "a call while the server is replaced")


def test_it_says_that_its_session_is_not_there(driver: Driver, served: Served, tmp_path: Path) -> None:
    """No client here initializes anew by itself, so its caller must be told what to do. The server has other data."""
    before = served.data
    served.kill()
    served.data = tmp_path / "other"
    served.start()
    assert "does not exist (any more): initialize a new one" in driver.call("echo", text="?")["failed"]
    served.kill()
    served.data = before
    served.start()


def test_a_call_while_the_server_is_away_fails(client: str, driver: Driver, front: Front, served: Served) -> None:
    """Nothing that Holdfast could do decides whether the client lives on: nobody is there to answer it."""
    front.patient = False
    served.kill()
    failed = outcome(driver)
    served.start()
    went_on = "failed" in failed and outcome(driver) == {"answer": client}
    assert went_on is can(client, "after a call while the server was away")


@pytest.mark.parametrize("client", [name for name in DRIVEN if can(name, "a session of another process")])
def test_another_process_takes_the_session_up(client: str, served: Served) -> None:
    """Those of Python have no option for it."""
    with Driver(client, url(served)) as one:
        one.call("remember", text="taken up")
        one.tell(do="leave")
        left = one.until("session")
    with Driver(client, url(served), left["session"], left["protocol"]) as other:
        assert other.call("recall") == {"answer": "taken up"}


def test_a_server_that_is_full_tells_why(tmp_path: Path) -> None:
    """Also to those that ask for the revision 2026-07-28 first: a 503 to that they would take for a server of it."""
    with serving(tmp_path / "full", "--max-sessions", "1", command=PROBE) as full:
        full.opened()
        for client in (PYTHON_AUTO, SDK_V1, V2_AUTO):
            with pytest.raises(Gone, match="1 sessions exist, as many as may"), Driver(client, url(full)):
                pass
