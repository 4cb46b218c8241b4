"""The survey: asks every session of a run, after the last crash, for everything it is supposed to still have."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit import McpClient, Served

from .disk import folder_of
from .evidence import Connection, Fate, Found, Replay, Seen, SessionLog, all_seen, place_of
from .talk import SILENCE_S_MAX, read_events

RACING: Final = 3
AT_ONCE: Final = 4
STANDALONE: Final = "0"


@dataclass(frozen=True, slots=True)
class Surveyor:
    """Asks one server. `term` is the one it serves under, learned from a stream that it opened."""

    served: Served
    term: int
    seed: int

    def all(self, logs: Sequence[SessionLog]) -> dict[str, Found]:
        """Return what was found of each session whose id is known, by its token."""
        known = [log for log in logs if log.id is not None]
        strangers = {log.token: other for log, other in zip(known, known[1:] + known[:1], strict=True)}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda log: self._one(log, strangers[log.token]), known)
            return {log.token: each for log, each in zip(known, found, strict=True)}

    def _one(self, log: SessionLog, stranger: SessionLog) -> Found:
        if log.deleted is Fate.ACKNOWLEDGED:
            client = self._client(log)
            with client.request("ping") as ping, client.get() as stream, client.delete() as end:
                return Found([ping.status, stream.status, end.status])
        found = self._first_contact(log)
        if set(found.statuses) == {200}:
            self._ask(log, found, stranger)
        return found

    def _first_contact(self, log: SessionLog) -> Found:
        """Let several requests race to be the first of the session: one worker must answer them all."""
        with ThreadPoolExecutor(RACING) as pool:
            call = {"name": "pid", "arguments": {}}
            asked = [pool.submit(self._client(log).request, "tools/call", call, id=f"first{n}") for n in range(RACING)]
            replies = [reply.result() for reply in asked]
        found = Found([reply.status for reply in replies])
        for reply in (reply for reply in replies if reply.status == 200):
            answer = reply.messages()[-1] if reply.is_stream else reply.json()
            found.pids.add(json.dumps(answer.get("result", answer.get("error"))))
        return found

    def _ask(self, log: SessionLog, found: Found, stranger: SessionLog) -> None:
        client = self._client(log)
        found.heard = json.loads(client.call("heard"))
        found.count = str(client.call("count"))
        found.echo = str(client.call("echo", text=log.token))
        for stream, seen in by_stream(log).items():
            replays = self._standalone(log, seen) if stream == STANDALONE else self._finished(log, seen)
            found.replays[stream] = list(replays)
        strange = next((event.id for event in seen_of(stranger)), None)
        if strange is not None and stranger is not log:
            with client.get(strange) as reply:
                found.strange = reply.status
        assert log.id is not None
        place = folder_of(self.served.data, log.id) / "work"
        found.files = {call.file: _text(place / call.file) for call in log.calls if call.file is not None}

    def _finished(self, log: SessionLog, seen: list[Seen]) -> Iterator[Replay]:
        """Resume a stream from its first, some and its last known event; each replay ends by itself."""
        for after in self._points(log, seen):
            with self._client(log).get(after) as reply:
                events = list(read_events(reply, known=True)) if reply.is_stream else []
                yield Replay(after, reply.status, events)

    def _standalone(self, log: SessionLog, seen: list[Seen]) -> Iterator[Replay]:
        """Do the same with the stream that has no end: the last event of a replay is one that we cause."""
        client = self._client(log)
        for number, after in enumerate(self._points(log, seen), 1):
            with client.get(after) as reply:
                events: list[Seen] = []
                if reply.is_stream:
                    client.call("changed")
                    events = list(self._up_to_own(read_events(reply, known=True), number))
                yield Replay(after, reply.status, events)

    def _up_to_own(self, events: Iterator[Seen], number: int) -> Iterator[Seen]:
        """Yield events to the one of this server's term that is the `number`th, or the silence in its place."""
        own = 0
        try:
            for event in events:
                yield event
                own += event.id is not None and place_of(event.id).term == self.term
                if own == number:
                    return
        except TimeoutError:
            return

    def _points(self, log: SessionLog, seen: list[Seen]) -> list[str]:
        chance = random.Random(f"{self.seed}/{log.token}")
        ids = sorted((event.id for event in seen if event.id is not None), key=place_of)
        return [ids[0], chance.choice(ids), ids[-1]]

    def _client(self, log: SessionLog) -> McpClient:
        return McpClient(self.served.port, log.id, timeout_s=SILENCE_S_MAX)


def surveyed(served: Served, logs: Sequence[SessionLog], seed: int) -> tuple[dict[str, Found], SessionLog]:
    """Survey a restarted server; also return the session that the survey itself opened, which is new."""
    client = served.opened()
    own = SessionLog("the survey's own", client.session, Fate.ACKNOWLEDGED)
    with client.request("tools/call", {"name": "sleep", "arguments": {"seconds": 0.3}}) as reply:
        connection = Connection(events=list(read_events(reply)))
    assert connection.last_id is not None, f"seed {seed}: a slow call of a new session was not answered by a stream"
    return Surveyor(served, place_of(connection.last_id).term, seed).all(logs), own


def seen_of(log: SessionLog) -> Iterator[Seen]:
    """Yield every numbered event that the client of a session has seen."""
    calls = itertools.chain.from_iterable(call.connections for call in log.calls)
    yield from all_seen(itertools.chain(calls, log.listens))


def by_stream(log: SessionLog) -> dict[str, list[Seen]]:
    """Return the same by stream."""
    streams: dict[str, list[Seen]] = {}
    for event in seen_of(log):
        assert event.id is not None
        streams.setdefault(place_of(event.id).stream, []).append(event)
    return streams


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
