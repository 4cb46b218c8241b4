"""Identity at the real server: what strangers get, what owners keep, and what the log never holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from holdfast.identity.rules import token_line
from tests.kit import PROBE, McpClient, Reply, Served, eventually, free_port, serving

from .issuer import AUDIENCE, Issuer, Pair, issuing, rsa_pair, signed

pytestmark = pytest.mark.slow

KEY = rsa_pair("r1")
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
UNKNOWN = "f" * 32


class As(McpClient):
    """A client that says with every request who it is."""

    def __init__(self, port: int, token: str | None, session: str | None = None, **headers: str) -> None:
        super().__init__(port, session)
        self.said: dict[str, str | None] = {**headers, "Authorization": token and f"Bearer {token}"}

    def send(
        self,
        verb: str,
        body: bytes | None = None,
        headers: dict[str, str | None] | None = None,
        path: str | None = None,
    ) -> Reply:
        return super().send(verb, body, self.said | (headers or {}), path)


def visible(reply: Reply) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all that a client sees of an answer, but for the time of day."""
    headers = [(name, value) for name, value in reply.response.getheaders() if name != "date"]
    return reply.status, headers, reply.body


def token_file(path: Path, **tokens: str) -> Path:
    path.touch(0o600)
    path.write_text("".join(token_line(name, token) + "\n" for name, token in tokens.items()))
    return path


class World:
    """A server that knows an issuer and a file of tokens."""

    def __init__(self, served: Served, issuer: Issuer, tokens: Path) -> None:
        self.served = served
        self.issuer = issuer
        self.tokens = tokens
        self.used: list[str] = []

    def token(self, pair: Pair = KEY, **changed: Any) -> str:
        made = signed(pair, self.issuer.claims(**changed))
        self.used.append(made)
        return made

    def client(self, token: str | None, session: str | None = None) -> As:
        return As(self.served.port, token, session)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("identity")
    with ExitStack() as stack:
        issuer = stack.enter_context(issuing())
        issuer.publish(KEY)
        tokens = token_file(folder / "tokens", ci="ci-token-0123456789", ann="ann-token-0123456789")
        words = ["--token-file", str(tokens), "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE]
        words += ["--public-url", "https://mcp.example", "--answer", "stream", "--log-level", "debug"]
        served = stack.enter_context(serving(folder / "data", *words, command=PROBE))
        yield World(served, issuer, tokens)


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
def test_without_a_token_a_client_learns_where_to_get_one(world: World, verb: str) -> None:
    """R-SEC-1; RFC 9728, section 5.1; RFC 6750, section 3: no error where there was no token."""
    for session in (None, UNKNOWN):
        reply = world.client(None, session).send(verb, PING if verb == "POST" else None)
        where = 'Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'
        assert (reply.status, reply.response.getheader("www-authenticate")) == (401, where)
        assert reply.json()["error"]["message"] == "send a token: Authorization: Bearer …"


def test_a_stranger_with_a_long_message_is_answered_and_leaves_no_trace(world: World) -> None:
    for _ in range(3):
        assert world.client(None).send("POST", b" " * 5_000_000).status == 401


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Bearer nonsense", "it is no JSON Web Token"),
        ("Bearer a b", "it is not one bearer token"),
        ("Bearer ", "it is not one bearer token"),
    ],
)
def test_a_token_of_nobody_is_told_what_is_wrong_with_it(world: World, value: str, why: str) -> None:
    reply = world.client(None).send("POST", PING, {"Authorization": value})
    said = reply.response.getheader("www-authenticate") or ""
    assert reply.status == 401
    assert said.endswith(f'/mcp", error="invalid_token", error_description="{why}"')
    assert reply.json()["error"]["message"] == f"the token is not accepted: {why}"


def test_an_expired_token_is_told_so(world: World) -> None:
    reply = world.client(world.token(exp=time.time() - 100)).send("POST", PING)
    assert reply.status == 401
    assert "it has expired" in (reply.response.getheader("www-authenticate") or "")


def test_the_metadata_are_there_for_everybody(world: World) -> None:
    """RFC 9728, section 3; MCP 2025-11-25, "Authorization". The Host header has no say in them."""
    stranger = McpClient(world.served.port)
    for path in ("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"):
        for headers in ({}, {"Host": "evil.example"}, {"Origin": "https://app.example"}):
            reply = stranger.send("GET", None, dict(headers), path)
            assert (reply.status, reply.response.getheader("access-control-allow-origin")) == (200, "*")
            assert reply.json() == {
                "resource": "https://mcp.example/mcp",
                "authorization_servers": [world.issuer.url],
                "bearer_methods_supported": ["header"],
            }
        before = stranger.send("OPTIONS", None, {"Access-Control-Request-Headers": "mcp-protocol-version"}, path)
        assert (before.status, before.response.getheader("access-control-allow-headers")) == (204, "*")
        assert stranger.send("POST", PING, None, path).status == 405
    assert stranger.send("GET", None, None, "/.well-known/other").status == 404


def test_a_refreshed_token_keeps_its_session_also_after_a_restart(world: World) -> None:
    """R-MCP-4."""
    client = world.client(world.token())
    client.initialize()
    assert client.call("echo", text="one") == "one"
    refreshed = world.client(world.token(exp=time.time() + 900, jti="2"), client.session)
    assert refreshed.call("echo", text="two") == "two"
    world.served.kill()
    world.served.start()
    again = world.client(world.token(exp=time.time() + 1200, jti="3"), client.session)
    assert again.call("echo", text="three") == "three"


@pytest.mark.parametrize("other", ["another subject", "the same subject of another issuer"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["live", "restarted"])
def test_anybody_else_gets_what_an_unknown_id_gets(world: World, other: str, is_restarted: bool) -> None:
    """R-MCP-4, R-MCP-5: the same bytes, whatever is asked."""
    owner = world.client(world.token())
    owner.initialize()
    with owner.request("tools/call", {"name": "echo", "arguments": {"text": "mine"}}, id="seen") as stream:
        event = next(stream.events()).id
    if is_restarted:
        world.served.kill()
        world.served.start()
    thief = "ann-token-0123456789" if other == "the same subject of another issuer" else world.token(sub="bob")
    for verb, body, headers in [
        ("POST", PING, {}),
        ("POST", b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}', {}),
        ("POST", b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}', {}),
        ("GET", None, {}),
        ("GET", None, {"Last-Event-ID": event}),
        ("DELETE", None, {}),
    ]:
        seen = {}
        for session in (owner.session, UNKNOWN):
            seen[session] = visible(world.client(thief, session).send(verb, body, dict(headers)))
        assert seen[owner.session] == seen[UNKNOWN]
        assert seen[UNKNOWN][0] == 404
    assert world.client(None, owner.session).send("DELETE").status == 401
    assert owner.call("echo", text="still mine") == "still mine"


def test_a_token_taken_out_of_the_file_is_out(world: World) -> None:
    client = world.client("ci-token-0123456789")
    client.initialize()
    with client.get() as open_before:
        token_file(world.tokens, ann="ann-token-0123456789", ci="another-token-0123456789")

        def status() -> int:
            with client.send("POST", PING) as reply:
                return reply.status

        eventually(lambda: status() == 401, within_s=60)
        ends = list(open_before.events())  # within half a minute
        assert ([event.message for event in ends if event.message], ends[-1].retry_ms) == ([], 2000)
    renewed = world.client("another-token-0123456789", client.session)
    assert renewed.call("echo", text="the same one") == "the same one"


async def test_the_official_client_calls_with_a_bearer_token(world: World) -> None:
    """R-MCP-6."""
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {world.token()}"}) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{world.served.port}/mcp", http_client=http)
        async with Client(transport, read_timeout_seconds=60) as client:
            result = await client.call_tool("echo", {"text": "hello"})
    assert json.loads(result.model_dump_json())["content"][0]["text"] == "hello"


def test_the_log_holds_neither_tokens_nor_ids(world: World) -> None:
    """R-SEC-2. After all the others of this module, on everything they did; at the level that says most."""
    client = world.client(world.token())
    client.initialize()
    client.send("POST", PING, {"Authorization": f"Bearer {world.token(sub='eve')}"})
    client.delete()
    log = world.served.log
    assert len(log) > 100
    for token in world.used:
        for part in token.split("."):
            assert part not in log
    assert "-token-0123456789" not in log
    assert re.findall(r"\b[0-9a-f]{32}\b", log) == []
    assert str(client.session) not in log


def test_without_keys_the_server_is_unavailable_and_not_the_client_wrong(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    words = ("--jwt-issuer", nowhere, "--jwt-audience", AUDIENCE)
    with serving(tmp_path / "data", *words) as served:
        reply = As(served.port, signed(KEY, {"sub": "ann"})).send("POST", PING)
        assert (reply.status, reply.response.getheader("retry-after")) == (503, "1")
        assert As(served.port, None).send("POST", PING).status == 401


def test_sessions_made_without_a_login_are_nobodys_with_one_and_the_other_way_round(tmp_path: Path) -> None:
    tokens = token_file(tmp_path / "tokens", ann="ann-token-0123456789")
    with serving(tmp_path / "data", command=PROBE) as served:
        free = served.opened()
        served.kill()
        served.start("--token-file", str(tokens))
        ann = As(served.port, "ann-token-0123456789", free.session)
        missing = visible(As(served.port, "ann-token-0123456789", UNKNOWN).send("POST", PING))
        assert visible(ann.send("POST", PING)) == missing
        ann = As(served.port, "ann-token-0123456789")
        ann.initialize()
        served.kill()
        served.start()
        assert visible(served.client(ann.session).send("POST", PING)) == missing
        assert free.call("echo", text="still there") == "still there"


def test_the_proxy_in_front_says_who_asks(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--trust-header", "X-Forwarded-User", command=PROBE) as served:
        ann = As(served.port, None, **{"X-Forwarded-User": "ann"})
        ann.initialize()
        assert ann.call("echo", text="hello") == "hello"
        assert As(served.port, None, ann.session, **{"X-Forwarded-User": "bob"}).send("POST", PING).status == 404
        refused = As(served.port, None, ann.session).send("POST", PING)
        assert (refused.status, refused.response.getheader("www-authenticate") is not None) == (401, True)
        served.kill()
        served.start("--trust-proxy", "192.0.2.0/24")
        assert ann.send("POST", PING).status == 401


def test_another_address_may_be_listened_on_once_there_is_a_login(tmp_path: Path) -> None:
    """R-SEC-1: off only on loopback."""
    tokens = token_file(tmp_path / "tokens", ann="ann-token-0123456789")
    with serving(tmp_path / "data", "--host", "0.0.0.0", "--token-file", str(tokens)) as served:
        assert served.client().send("POST", PING).status == 401
        As(served.port, "ann-token-0123456789").initialize()


def test_without_its_packages_a_login_by_jwt_says_which_extra_to_install(tmp_path: Path) -> None:
    words = ["serve", "--port", str(free_port()), *JWT, "--", "true"]
    program = f"import sys; sys.modules['jwt'] = None; from holdfast.cli.main import main; sys.exit(main({words}))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (
        2,
        "holdfast: jwt is not installed; install holdfast with its extra `jwt`\n",
    )


JWT = ("--jwt-issuer", "https://issuer.example", "--jwt-audience", "mcp")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--host", "0.0.0.0"), ("there is no login", "--token-file", "--trust-header")),
        (("--host", "0.0.0.0", *JWT), ("--public-url",)),
        (("--token-file", "absent"), ("--token-file", "absent", "No such file")),
        (("--token-file", "broken"), ("broken, line 2", "holdfast token NAME")),
        (("--token-file", "writable"), ("chmod 600",)),
        (JWT[:2], ("--jwt-issuer wants --jwt-audience",)),
        (JWT[2:], ("--jwt-audience wants --jwt-issuer",)),
        (("--jwt-issuer", "http://issuer.example", *JWT[2:]), ("--jwt-issuer", "https://")),
        ((*JWT, "--jwt-jwks", "http://issuer.example/keys"), ("--jwt-jwks", "https://")),
        ((*JWT, "--jwt-algorithm", "HS256"), ("--jwt-algorithm", "RS256")),
        ((*JWT, "--jwt-algorithm", "none"), ("--jwt-algorithm", "RS256")),
        (("--jwt-jwks", "keys.json"), ("--jwt-jwks wants --jwt-issuer",)),
        (("--trust-proxy", "10.0.0.0/8"), ("--trust-proxy wants --trust-header",)),
        (("--trust-header", "X-User", "--trust-proxy", "10.0.0.1/8"), ("--trust-proxy", "10.0.0.0/8")),
        (("--trust-header", "X User"), ("--trust-header", "X-Forwarded-User")),
        (("--trust-header", "X-User", *JWT), ("--trust-header", "leave out")),
        (("--public-url", "mcp.example"), ("--public-url", "not a URL")),
        (("--public-url", "https://mcp.example?x"), ("--public-url", "query")),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    (tmp_path / "broken").write_text(token_line("ann", "x") + "\nbob\n")
    (tmp_path / "broken").chmod(0o600)
    (tmp_path / "writable").touch()
    (tmp_path / "writable").chmod(0o666)
    command = [sys.executable, "-m", "holdfast", "serve", "--port", str(free_port()), *words, "--", "true"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    for part in parts:
        assert part in ran.stderr
