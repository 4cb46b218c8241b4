"""An MCP client that does nothing by itself, so that a test sees and controls every byte."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

PROTOCOL = "2025-11-25"
BOTH = "application/json, text/event-stream"


class Event(NamedTuple):
    """One server-sent event; `message` is None where the data are empty."""

    id: str | None
    message: Any
    retry_ms: int | None


@dataclass
class Reply:
    """An answer of the server: a whole one has a `body`, a stream has `events`."""

    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection
    status: int = field(init=False)
    body: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self.status = self.response.status
        if not self.is_stream:
            self.body = self.response.read()
            self.connection.close()

    @property
    def is_stream(self) -> bool:
        return (self.response.getheader("content-type") or "").startswith("text/event-stream")

    @property
    def session(self) -> str | None:
        return self.response.getheader("mcp-session-id")

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def events(self) -> Iterator[Event]:
        """Yield events until the server ends the stream or the connection breaks."""
        fields: dict[str, str] = {}
        try:
            while line := self.response.readline():
                text = line.decode().rstrip("\n")
                if text and not text.startswith(":"):
                    name, _, value = text.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif not text and fields:
                    data, retry = fields.get("data"), fields.get("retry")
                    yield Event(fields.get("id"), json.loads(data) if data else None, int(retry) if retry else None)
                    fields = {}
        except (OSError, http.client.HTTPException):
            pass
        self.close()

    def messages(self) -> list[Any]:
        """Return all messages up to the end of the stream."""
        return [event.message for event in self.events() if event.message is not None]

    def answer(self) -> Any:
        """Return the answer to the request, whether it came as JSON or at the end of a stream."""
        return self.messages()[-1] if self.is_stream else self.json()

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class McpClient:
    """Speaks Streamable HTTP to one session, or opens one."""

    def __init__(self, port: int, session: str | None = None, *, path: str = "/mcp", timeout_s: float = 120.0) -> None:
        self.port = port
        self.session = session
        self.path = path
        self.timeout_s = timeout_s
        self._last_id = 0

    def send(
        self,
        verb: str,
        body: bytes | None = None,
        headers: dict[str, str | None] | None = None,
        path: str | None = None,
    ) -> Reply:
        """Send one HTTP request over a connection of its own; a header set to None is left out."""
        all_headers: dict[str, str | None] = {"Accept": BOTH, "MCP-Protocol-Version": PROTOCOL}
        if self.session is not None:
            all_headers["Mcp-Session-Id"] = self.session
        if body is not None:
            all_headers["Content-Type"] = "application/json"
        all_headers |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            kept = {name: value for name, value in all_headers.items() if value is not None}
            connection.request(verb, path or self.path, body, kept)
            return Reply(connection.getresponse(), connection)
        except BaseException:
            connection.close()
            raise

    def post(self, message: Any, headers: dict[str, str | None] | None = None) -> Reply:
        return self.send("POST", json.dumps(message).encode(), headers)

    def request(self, method: str, params: Any = None, *, id: int | str | None = None) -> Reply:
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id if id is None else id, "method": method}
        return self.post(message | ({"params": params} if params is not None else {}))

    def notify(self, method: str, params: Any = None) -> Reply:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        return self.post(message | ({"params": params} if params is not None else {}))

    def get(self, last_event_id: str | None = None) -> Reply:
        return self.send("GET", headers={"Accept": "text/event-stream", "Last-Event-ID": last_event_id})

    def delete(self) -> Reply:
        return self.send("DELETE")

    def initialize(self, **capabilities: Any) -> Any:
        """Open a session with the whole handshake; return the server's answer."""
        params = {
            "protocolVersion": PROTOCOL,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        reply = self.request("initialize", params)
        answer = reply.json()
        assert reply.status == 200, (reply.status, answer)
        self.session = reply.session
        accepted = self.notify("notifications/initialized")
        assert accepted.status == 202, accepted.json()
        accepted.close()
        return answer

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool and return the text it answered, or the JSON-RPC error object."""
        answer = self.request("tools/call", {"name": tool, "arguments": arguments}).answer()
        if "error" in answer:
            return answer["error"]
        return answer["result"]["content"][0]["text"]
