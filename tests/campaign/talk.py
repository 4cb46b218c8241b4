"""How a client of the campaign sends, reads and resumes, and notes down what came."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.kit import McpClient, Reply

from .evidence import Call, Connection, Fate, Seen, SessionLog
from .world import Before, World

BROKEN: Final = (OSError, http.client.HTTPException)
SILENCE_S_MAX: Final = 20.0
RESUMES_MAX: Final = 30
REFUSED_S: Final = 0.2
GONE: Final = 404
DRAINING: Final = 503


def read_events(reply: Reply, *, known: bool = False, connection: Connection | None = None) -> Iterator[Seen]:
    """Yield whole events, as their exact bytes, until the stream ends or breaks; `connection` is told if it breaks.

    A stream that is `known`, because it was listened to before, may begin by saying where the client stands, which is
    no event of the stream; `connection` is told that too.

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
                    if known and data == [b""]:
                        if connection is not None:
                            connection.after = event_id
                    elif event_id is not None or data:
                        yield Seen(event_id, b"\n".join(data))
                    known = known and not data
                    event_id, data = None, []
        except TimeoutError:
            raise
        except BROKEN:
            if connection is not None:
                connection.cut = True


@dataclass(slots=True)
class Talk:
    """One session's side of the conversation; several threads may speak at once. `lenient`: an end may refuse us.

    A client that `forgets` where it was cannot be asked anything.
    """

    world: World
    port: int
    log: SessionLog
    lenient: bool
    listening: threading.Thread | None = None
    asking: threading.Thread | None = None
    forgets: bool = False
    _hung_up: bool = False
    _listen: Reply | None = None
    _replied: set[str] = field(default_factory=set)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        """Return a number that this session has not used."""
        return next(self._ids)

    def http(self) -> McpClient:
        """Return the tests' HTTP client for this session."""
        return McpClient(self.port, self.log.id, timeout_s=SILENCE_S_MAX)

    def call(
        self, tool: str, text: str | None = None, steps: int = 0, tells: str | None = None, /, **arguments: Any
    ) -> Call:
        """Call a tool; return once it is answered, over however many connections, or cannot be any more."""
        number = self.number()
        params = {"name": tool, "arguments": arguments}
        if steps:
            params["_meta"] = {"progressToken": f"{self.log.token}/{number}"}
        call = Call(number if number % 2 else f"r{number}", tool, text, steps, arguments.get("name"), tells)
        return self._request("tools/call", params, call)

    def ask(self, method: str, params: dict[str, Any]) -> Call:
        """Send another request than a tool's."""
        return self._request(method, params, Call(self.number(), method))

    def _request(self, method: str, params: dict[str, Any], call: Call) -> Call:
        self.log.calls.append(call)
        before = self.world.now()
        call.sent = before.state
        try:
            reply = self.http().request(method, params, id=call.id)
            call.status = reply.status
            if reply.is_stream:
                self._follow(call, reply, before)
            elif reply.status == 200:
                call.answer = reply.body
                call.server = self.world.server_since(before)
            else:
                self.refused(f"{call.tool} {call.id}", reply)
        except BROKEN as error:
            self.broke(f"{call.tool} {call.id}", before, error)
        call.ended = True
        return call

    def _follow(self, call: Call, reply: Reply, before: Before) -> None:
        """Read the stream of a call to its answer, resuming it whenever it breaks off."""
        for _ in range(RESUMES_MAX):
            if reply.status != 200:
                self.refused(f"resuming {call.tool} {call.id}", reply)
                return
            connection = Connection(call.connections[-1].last_id if call.connections else None)
            call.connections.append(connection)
            for event in read_events(reply, known=connection.after is not None, connection=connection):
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

    def _note(self, call: Call, event: Seen, before: Before) -> None:
        self.world.note("event seen" if event.data else "stream opened")
        if not event.data:
            call.server = self.world.server_since(before)
        elif "method" not in event.message:
            call.answer = event.data
            self.world.note("stream answered")

    def _reply(self, event: Seen) -> None:
        """Answer a question of the server with the session's token, until some server has taken that."""
        message = event.message or {}
        if "method" not in message or "id" not in message or message["id"] in self._replied:
            return
        self._replied.add(message["id"])
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": self.log.token}}
        for _ in range(RESUMES_MAX):
            if not self.world.wait_up():
                return
            before = self.world.now()
            try:
                reply = self.http().post(answer)
            except BROKEN as error:
                self.broke("an answer to a question", before, error)
                continue
            if reply.status == 202:
                self.world.note("question answered")
                return
            if not self._may_come_again(reply):
                self.refused("an answer to a question", reply)
                return
        self.log.problems.append(f"an answer to a question to be taken; it was not in {RESUMES_MAX} attempts")

    def _resume(self, last_id: str) -> Reply | None:
        """Ask for the rest of a stream until some server answers; None when there will be none any more."""
        for _ in range(RESUMES_MAX):
            if not self.world.wait_up():
                return None
            before = self.world.now()
            self.world.note("resume sent")
            try:
                reply = self.http().get(last_id)
            except BROKEN as error:
                self.broke(f"resuming after {last_id}", before, error)
                continue
            if not self._may_come_again(reply):
                return reply
        self.log.problems.append(f"resuming after {last_id} to be answered; it was not in {RESUMES_MAX} attempts")
        return None

    def listen(self, *, forget: bool) -> None:
        """Hear what belongs to no request until the session ends or we hang up; `forget` where one was each time."""
        last_id: str | None = None
        for _ in range(RESUMES_MAX):
            if self._hung_up or not self.world.wait_up():
                return
            before = self.world.now()
            try:
                self.world.note("listening")
                self._listen = reply = self.http().get(None if forget else last_id)
                if reply.status != 200:
                    if self._may_come_again(reply):
                        continue
                    self.refused("listening", reply)
                    return
                if self._hung_up:
                    reply.close()
                    return
                self._hear(reply, Connection(None if forget else last_id))
                last_id = self.log.listens[-1].last_id
            except BROKEN as error:
                self.broke("listening", before, error)

    def _hear(self, reply: Reply, connection: Connection) -> None:
        self.log.listens.append(connection)
        for event in read_events(reply, known=len(self.log.listens) > 1, connection=connection):
            connection.events.append(event)
            self.world.note("event seen")
            self._reply(event)

    def hang_up(self) -> None:
        """Listen no more."""
        self._hung_up = True
        socket = self._listen and self._listen.connection.sock
        if socket:
            with contextlib.suppress(OSError):  # it is closed already
                socket.shutdown(2)

    def refused(self, what: str, reply: Reply) -> None:
        """Note an answer that no client of an undisturbed session may get."""
        gone = reply.status == GONE and self.log.deleted is not Fate.UNSAID
        if not gone and not (reply.status == DRAINING and self._may_refuse):
            self.log.problems.append(f"{what} to be answered; it was refused with {reply.status} {reply.body[:200]!r}")

    def broke(self, what: str, before: Before, error: Exception) -> None:
        """Note a connection that broke although a server was there all the time."""
        if self.world.is_whole_since(before):
            self.log.problems.append(f"{what} to be answered by a server that is up; the connection broke: {error!r}")

    def _may_come_again(self, reply: Reply) -> bool:
        """Wait a moment if we were told to come again, and may be; else return False."""
        if reply.status != DRAINING or not self._may_refuse:
            return False
        threading.Event().wait(REFUSED_S)
        return True

    @property
    def _may_refuse(self) -> bool:
        """Whether we may be told to come again; also by a server whose successor found no worker of the session."""
        return self.lenient or self.log.crashed
