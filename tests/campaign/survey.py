"""The survey: asks every session of a run, after the last end, for everything it is supposed to still have."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.kit import McpClient, Reply, Served

from .disk import folder_of, notes_of
from .evidence import SURVEYED, Fate, Found, Replay, Seen, SessionLog, all_seen, place_of
from .talk import SILENCE_S_MAX, read_events
from .worker_rules import CRASHES_END

RACING: Final = 3
AT_ONCE: Final = 4
CRASHES_COUNT_S: Final = 50.0
"""Crashes that lie no further apart end a session; the server's own window is somewhat longer."""
STANDALONE: Final = "0"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Surveyor:
    """Asks one server; the run `began` then."""

    served: Served
    seed: int
    began: float

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
            asked = [pool.submit(_call, self._client(log), "pid") for _ in range(RACING)]
            replies = [reply.result() for reply in asked]
        found = Found([reply.status for reply in replies])
        for reply in replies:
            if reply.status == 200:
                found.pids.add(_said(reply))
            else:
                found.refusals.append(reply.body.decode(errors="replace"))
        return found

    def _ask(self, log: SessionLog, found: Found, stranger: SessionLog) -> None:
        client = self._client(log)
        found.heard = _words(_said(_call(client, "heard")))
        found.count = _said(_call(client, "count"))
        found.echo = _said(_call(client, "echo", text=log.token))
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
        found.taken = notes_of(place)

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
                    mark = f"{log.token}{SURVEYED}{number}"
                    _said(_call(client, "changed", mark=mark))
                    events = list(_up_to(mark, read_events(reply, known=True)))
                yield Replay(after, reply.status, events)

    def _points(self, log: SessionLog, seen: list[Seen]) -> list[str]:
        chance = random.Random(f"{self.seed}/{log.token}")
        ids = sorted((event.id for event in seen if event.id is not None), key=place_of)
        return [ids[0], chance.choice(ids), ids[-1]]

    def crash(self, logs: Sequence[SessionLog], found: dict[str, Found]) -> None:
        """Let the worker of each live session crash, so that the next one says what it was told.

        Where one had crashed before, let them crash until that ends the session.
        """
        live = [log for log in logs if log.id is not None and set(found[log.token].statuses) == {200}]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda log: self._crash(log, found[log.token]), live))

    def _crash(self, log: SessionLog, found: Found) -> None:
        client, before = self._client(log), len(found.crashed)
        for crashes in range(before + 1, CRASHES_END + 1):
            _said(_call(client, "crash"))
            with _call(client, "heard") as reply:
                found.alive_after[crashes] = reply.status == 200
                if reply.status != 200:
                    break
                found.heard_anew = found.heard_anew or _words(_said(reply))
            if not before:
                break
        found.close = time.monotonic() - self.began < CRASHES_COUNT_S

    def _client(self, log: SessionLog) -> McpClient:
        return McpClient(self.served.port, log.id, timeout_s=SILENCE_S_MAX)


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


def _up_to(mark: str, events: Iterator[Seen]) -> Iterator[Seen]:
    """Yield events to the one that holds a mark, or the silence in its place."""
    try:
        for event in events:
            yield event
            if mark.encode() in event.data:
                return
    except TimeoutError:
        return


def _call(client: McpClient, tool: str, **arguments: Any) -> Reply:
    """Call a tool under an id that no client of the load has used."""
    return client.request("tools/call", {"name": tool, "arguments": arguments}, id=f"survey-{next(_numbers)}")


def _said(reply: Reply) -> str:
    """Return the text of a tool's answer, or the error."""
    answer = reply.answer()
    return str(answer["result"]["content"][0]["text"] if "result" in answer else answer.get("error"))


def _words(said: str) -> list[str]:
    """Return the list of words that a tool said, or whatever it said instead."""
    try:
        return [str(word) for word in json.loads(said)]
    except ValueError:
        return [said]


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
