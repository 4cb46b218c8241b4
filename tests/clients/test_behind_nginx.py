"""Sessions behind nginx of Debian, as docs/proxies.md says and as it comes: R-MCP-1, R-MCP-6.

That events arrive at once is told by what happens, not by when: a question that came in a stream is answered while the
call that asked waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit import McpClient, Served, eventually, free_port, serving

from .driving import PYTHON_AUTO, SDK_V1, TALKING, V2_AUTO, Driver
from .nginx import impatient, nginx, plain, snippet

pytestmark = pytest.mark.slow

RESUMED_CALL = r'GET 200 "[0-9a-f]+\.[0-9]+-[0-9.-]+"'
LARGE = "x" * 2**21
RESUMED_MAX = 100
CLIENTS = 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("proxied") / "data", command=TALKING) as server:
        yield server


def test_a_session_works_as_the_page_says(served: Served, tmp_path: Path) -> None:
    """Under a path prefix, over kept connections: what a client does, large messages, a goodbye.

    While nobody listens behind it nginx answers 502, and a client that a refused connection would end lives on.
    """
    port = free_port()
    with nginx(tmp_path / "nginx", snippet(served.port, port)) as proxy:
        client = McpClient(port, path="/notes/mcp")
        client.initialize()
        assert client.call("echo", text=LARGE) == LARGE
        assert client.delete().status == 204
        with Driver(PYTHON_AUTO, f"http://127.0.0.1:{port}/notes/mcp") as driver:
            driver.call("count", upto=3)
            assert driver.heard[1:] == [{"progress": n} for n in (1, 2, 3)] + [{"answer": "counted to 3"}]
            assert driver.call("greet")["answer"] == "hello Ada"
            driver.call("remember", text="before")
            served.kill()
            assert "failed" in driver.call("recall")
            served.start()
            assert driver.call("recall") == {"answer": "before"}
        eventually(lambda: proxy.answered(port, 'DELETE 204 "-"') == 2, within_s=30)


def test_events_arrive_at_once_with_nginx_as_it_comes(served: Served, tmp_path: Path) -> None:
    """It buffers answers and makes a connection for each request, unless it is told otherwise."""
    port = free_port()
    with nginx(tmp_path / "nginx", plain(served.port, port)):
        client = McpClient(port)
        client.initialize(elicitation={})
        with client.get() as listening:
            assert next(listening.events()).id is not None  # the opening of a stream on which nothing comes
            with client.request("tools/call", {"name": "greet", "arguments": {}}) as asking:
                events = asking.events()
                question = next(event.message for event in events if event.message is not None)
                assert question["method"] == "elicitation/create"
                told = {"action": "accept", "content": {"name": "Bo"}}
                assert client.post({"jsonrpc": "2.0", "id": question["id"], "result": told}).status == 202
                answer = next(event.message for event in events if event.message is not None)
                assert answer["result"]["content"][0]["text"] == "hello Bo"
        assert client.delete().status == 204


def told(client: McpClient, text: str) -> str:
    """Have a text said again; a stream that ends before its answer is resumed."""
    with client.request("tools/call", {"name": "echo", "arguments": {"text": text}}) as reply:
        assert reply.status == 200
        if not reply.is_stream:
            return str(reply.json()["result"]["content"][0]["text"])
        events = list(reply.events())
    for _ in range(RESUMED_MAX):
        messages = [event.message for event in events if event.message is not None]
        if messages:
            return str(messages[0]["result"]["content"][0]["text"])
        with client.get([event.id for event in events if event.id is not None][-1]) as reply:
            assert reply.status == 200
            events += reply.events()
    return "no answer"


@pytest.mark.parametrize(("server", "path"), [(snippet, "/notes/mcp"), (plain, "/mcp")], ids=["kept", "as it comes"])
def test_no_call_fails_while_the_server_behind_it_is_replaced(
    served: Served, tmp_path: Path, server: Callable[[int, int], str], path: str
) -> None:
    """R-KEE-1: over connections that nginx keeps, and over a new one for each request."""
    port, begun, replaced = free_port(), threading.Barrier(CLIENTS + 1), threading.Event()
    with nginx(tmp_path / "nginx", server(served.port, port)):

        def calls() -> int:
            client = McpClient(port, path=path)
            client.initialize()
            begun.wait(60)
            count = 0
            while not replaced.is_set():
                count += 1
                assert told(client, str(count)) == str(count)
            assert told(client, "after") == "after"
            assert client.delete().status == 204
            return count

        old = served.process
        assert old is not None and old.stdout is not None
        with ThreadPoolExecutor(CLIENTS) as clients, old.stdout:
            calling = [clients.submit(calls) for _ in range(CLIENTS)]
            try:
                begun.wait(60)
                served.start("--replace")
                assert old.wait(60) == 0
            finally:
                replaced.set()
            assert min(client.result() for client in calling) > 0


def test_calls_outlive_the_patience_of_a_proxy(served: Served, tmp_path: Path) -> None:
    """The proxy cuts each silent stream; clients resume twice by their last event id and get their answers.

    Twice, because the second time they must know their place though nothing came since the first.
    """
    ports = {client: free_port() for client in (PYTHON_AUTO, SDK_V1, V2_AUTO)}
    servers = "\n".join(impatient(served.port, port) for port in ports.values())
    with ExitStack() as stack:
        proxy = stack.enter_context(nginx(tmp_path / "nginx", servers))
        drivers = {
            port: stack.enter_context(Driver(client, f"http://127.0.0.1:{port}/mcp")) for client, port in ports.items()
        }
        for port, driver in drivers.items():
            driver.tell(do="call", tool="wait_for", arguments={"path": str(tmp_path / str(port))})
        waiting = set(drivers)

        def all_were_cut_twice() -> bool:
            for port in [port for port in waiting if proxy.answered(port, RESUMED_CALL)]:
                (tmp_path / str(port)).write_text("at last")
                waiting.remove(port)
            return not waiting

        eventually(all_were_cut_twice, within_s=60)
        for driver in drivers.values():
            assert driver.until("answer", "failed") == {"answer": "at last"}
            assert [said for said in driver.heard if "progress" in said] == [{"progress": 1}]
