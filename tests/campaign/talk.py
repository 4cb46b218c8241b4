"""How a client of the campaign sends, reads and resumes, and notes down what came."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.kit import McpClient, Reply

from .evidence import Call, Connection, Fate, Seen, SessionLog
from .world import World

BROKEN: Final = (OSError, http.client.HTTPException)
SILENCE_S_MAX: Final = 20.0
RESUMES_MAX: Final = 20
GONE: Final = 404
DRAINING: Final = 503


def read_events(reply: Reply, *, known: bool = False) -> Iterator[Seen]:
    """Yield whole events, as their exact bytes, until the stream ends or breaks.

    A stream that is `known`, because it was listened to before, may begin by saying where the client stands, which is
    no event of the stream.

    Raises:
        TimeoutError: Nothing came for `SILENCE_S_MAX`.
    """
    event_id: str | None = None
    data: list[bytes] = []
    with reply:
        try:
            while (line := reply.response.readline()).endswith(b"\n"):
                name, _, value = line.rstrip(b"\r\n").partition(b":")
                if name == b"id":
                    event_id = value.decode().removeprefix(" ")
                elif name == b"data":
                    data.append(value.removeprefix(b" "))
                elif not line.strip():
                    if (event_id is not None or data) and not (known and data == [b""]):
                        yield Seen(event_id, b"\n".join(data))
                    known = known and not data
                    event_id, data = None, []
        except TimeoutError:
            raise
        except BROKEN:
            return


@dataclass(slots=True)
class Talk:
    """One session's side of the conversation; several threads may speak at once. `gentle`: a stop may refuse us."""

    world: World
    port: int
    log: SessionLog
    gentle: bool
    listening: threading.Thread | None = None
    asking: threading.Thread | None = None
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        """Return a number that this session has not used."""
        return next(self._ids)

    def http(self) -> McpClient:
        """Return the tests' HTTP client for this session."""
        return McpClient(self.port, self.log.id, timeout_s=SILENCE_S_MAX)

    def call(self, tool: str, text: str | None = None, steps: int = 0, /, **arguments: Any) -> Call:
        """Call a tool; return once it is answered, over however many connections, or cannot be any more."""
        number = self.number()
        params = {"name": tool, "arguments": arguments}
        if steps:
            params["_meta"] = {"progressToken": f"{self.log.token}/{number}"}
        call = Call(number if number % 2 else f"r{number}", tool, text, steps)
        call.file = arguments.get("name")
        return self._request("tools/call", params, call)

    def ask(self, method: str, params: dict[str, Any]) -> Call:
        """Send another request than a tool's."""
        return self._request(method, params, Call(self.number(), method))

    def _request(self, method: str, params: dict[str, Any], call: Call) -> Call:
        self.log.calls.append(call)
        call.sent = before = self.world.state
        try:
            reply = self.http().request(method, params, id=call.id)
            call.status = reply.status
            if reply.is_stream:
                self._follow(call, reply, before)
            elif reply.status == 200:
                call.answer = reply.body
                call.lifetime = self._certain(before)
            else:
                self.refused(f"{call.tool} {call.id}", reply)
        except BROKEN as error:
            self.broke(f"{call.tool} {call.id}", before, error)
        return call

    def _follow(self, call: Call, reply: Reply, before: int) -> None:
        """Read the stream of a call to its answer, resuming it whenever it breaks off."""
        for _ in range(RESUMES_MAX):
            if reply.status != 200:
                self.refused(f"resuming {call.tool} {call.id}", reply)
                return
            connection = Connection(call.connections[-1].last_id if call.connections else None)
            call.connections.append(connection)
            for event in read_events(reply, known=connection.after is not None):
                connection.events.append(event)
                self._note(call, event, before)
                self._reply(event)
            if call.answer is not None or connection.last_id is None or not self.world.wait_up():
                return
            resumed = self._resume(connection.last_id)
            if resumed is None:
                return
            reply = resumed
        self.log.problems.append(f"an answer to {call.tool} {call.id}; there was none in {RESUMES_MAX} resumes")

    def _note(self, call: Call, event: Seen, before: int) -> None:
        self.world.note("event seen" if event.data else "stream opened")
        if not event.data:
            call.lifetime = self._certain(before)
        elif "method" not in event.message:
            call.answer = event.data
            self.world.note("stream answered")

    def _reply(self, event: Seen) -> None:
        """Answer a question of the server with the session's token, as the person at the client would."""
        message = event.message or {}
        if "method" not in message or "id" not in message:
            return
        before = self.world.state
        try:
            reply = self.http().post({"jsonrpc": "2.0", "id": message["id"], "result": {"content": self.log.token}})
            if reply.status != 202:
                self.refused("an answer to a question", reply)
        except BROKEN as error:
            self.broke("an answer to a question", before, error)

    def _resume(self, last_id: str) -> Reply | None:
        """Ask for the rest of a stream until some server answers; None when there will be none any more."""
        while self.world.wait_up():
            before = self.world.state
            self.world.note("resume sent")
            try:
                return self.http().get(last_id)
            except BROKEN as error:
                self.broke(f"resuming after {last_id}", before, error)
        return None

    def listen(self, *, forget: bool) -> None:
        """Hear what belongs to no request until the session or the load is over; `forget` where one was each time."""
        last_id: str | None = None
        while self.world.wait_up() and len(self.log.listens) < RESUMES_MAX:
            before = self.world.state
            try:
                self.world.note("listening")
                reply = self.http().get(None if forget else last_id)
                if reply.status != 200:
                    self.refused("listening", reply)
                    return
                connection = Connection(None if forget else last_id)
                self.log.listens.append(connection)
                for event in read_events(reply, known=len(self.log.listens) > 1):
                    connection.events.append(event)
                    self.world.note("event seen")
                    self._reply(event)
                last_id = connection.last_id
            except BROKEN as error:
                self.broke("listening", before, error)

    def refused(self, what: str, reply: Reply) -> None:
        """Note an answer that no client of an undisturbed session may get."""
        gone = reply.status == GONE and self.log.deleted is not Fate.UNSAID
        if not gone and not (reply.status == DRAINING and self.gentle):
            self.log.problems.append(f"{what} to be answered; it was refused with {reply.status} {reply.body[:200]!r}")

    def broke(self, what: str, before: int, error: Exception) -> None:
        """Note a connection that broke although the server was up all the time."""
        if before == self.world.state and before % 2 == 0:
            self.log.problems.append(f"{what} to be answered by a server that is up; the connection broke: {error!r}")

    def _certain(self, before: int) -> int | None:
        return before if before == self.world.state and before % 2 == 0 else None
