"""The load: clients that do a seeded mix of everything a client may do, through every end of the server."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tests.kit import McpClient
from tests.kit.client import PROTOCOL

from .evidence import Fate, SessionLog
from .talk import BROKEN, GONE, SILENCE_S_MAX, Talk
from .world import World

SESSIONS_MAX: Final = 3
STREAMS_MAX: Final = 3
CRASHES_MAX: Final = 2
PATIENCE_S: Final = 20.0
LEVELS: Final = ("debug", "info", "notice", "warning", "error")
INITIALIZE: Final[dict[str, Any]] = {
    "protocolVersion": PROTOCOL,
    "capabilities": {},
    "clientInfo": {"name": "campaign", "version": "1"},
}


class Client:
    """One client with up to three sessions. `logs` has all it ever began, in order."""

    def __init__(self, world: World, port: int, seed: int, number: int, *, lenient: bool) -> None:
        self.name = f"client {number}"
        self.logs: list[SessionLog] = []
        self._world = world
        self._port = port
        self._token = f"s{seed}c{number}"
        self._chance = random.Random(f"{seed}/{number}")
        self._lenient = lenient
        self._talks: list[Talk] = []
        self._spoke: list[Talk] = []
        self._threads: list[threading.Thread] = []
        self._acts: dict[Callable[[Talk], None], int] = {
            self._count: 4, self._echo: 4, self._large: 2, self._write: 2, self._changed: 2, self._set_level: 1,
            self._subscribe: 2, self._progress: 4, self._sleep: 1, self._log: 2, self._listen: 2, self._question: 2,
            self._crash: 1, self._delete: 1, self._pid: 1,
        }  # fmt: skip

    def run(self) -> None:
        """Act until the load is over, then hear the rest of what was begun."""
        while self._world.wait_to_begin():
            if not self._talks or (len(self._talks) < SESSIONS_MAX and self._chance.random() < 0.05):
                self._open()
                continue
            talk = self._chance.choice(self._talks)
            if talk.log.initialized is Fate.ACKNOWLEDGED:
                self._chance.choices(list(self._acts), list(self._acts.values()))[0](talk)
            else:
                self._confirm(talk)
        listening = [talk.listening for talk in self._spoke]
        for thread in self._threads:
            if thread not in listening:
                thread.join()
        for talk in self._spoke:
            talk.hang_up()
        for thread in self._threads:
            thread.join()

    def waiting(self) -> list[str]:
        """Return what still waits for an answer."""
        return [f"{call.tool} {call.id!r} of {log.shown}" for log in self.logs for call in log.calls if not call.ended]

    # -- the life of a session

    def _open(self) -> None:
        log = SessionLog(f"{self._token}.{len(self.logs)}")
        self.logs.append(log)
        talk = Talk(self._world, self._port, log, self._lenient)
        before = self._world.now()
        self._world.note("initialize sent")
        try:
            reply = McpClient(self._port, timeout_s=SILENCE_S_MAX).request("initialize", INITIALIZE)
        except BROKEN as error:
            talk.broke("initialize", before, error)
            return
        if reply.status == 200 and reply.session is not None and "result" in reply.json():
            log.id = reply.session
            self._world.note("initialize answered")
            self._talks.append(talk)
            self._spoke.append(talk)
            self._confirm(talk)
        else:
            talk.refused("initialize", reply)

    def _confirm(self, talk: Talk) -> None:
        before = self._world.now()
        self._world.note("initialized sent")
        talk.log.initialized = Fate.SAID
        talk.log.confirmed += 1
        try:
            reply = talk.http().notify("notifications/initialized")
        except BROKEN as error:
            talk.broke("notifications/initialized", before, error)
            return
        if reply.status == 202:
            talk.log.initialized = Fate.ACKNOWLEDGED
            self._world.note("initialized answered")
        else:
            talk.refused("notifications/initialized", reply)

    def _delete(self, talk: Talk) -> None:
        if self._chance.random() < 0.7:  # else sessions would not live long enough to gather anything
            return
        self._talks.remove(talk)
        before = self._world.now()
        self._world.note("delete sent")
        talk.log.deleted = Fate.SAID
        try:
            reply = talk.http().delete()
        except BROKEN as error:
            talk.broke("DELETE", before, error)
            return
        if reply.status in (204, GONE):
            talk.log.deleted = Fate.ACKNOWLEDGED
            self._world.note("delete answered")
        else:
            talk.refused("DELETE", reply)

    # -- what a client does in it

    def _count(self, talk: Talk) -> None:
        talk.call("count")

    def _pid(self, talk: Talk) -> None:
        talk.call("pid")

    def _echo(self, talk: Talk) -> None:
        padding = "." * self._chance.choice((0, 0, 0, 5_000, 300_000))
        text = f"{talk.log.token} says {talk.number()}{padding}"
        talk.call("echo", text, text=text)

    def _large(self, talk: Talk) -> None:
        size, pause_s = self._chance.randrange(10_000, 200_000), self._chance.choice((0, 0.001, 0.02))
        talk.call("large", "x" * size, bytes=size, halfway=pause_s)

    def _write(self, talk: Talk) -> None:
        text = f"{talk.log.token} wrote {talk.number()}"
        talk.call("append", "written", 0, text, name=f"file{talk.number()}", text=text)

    def _changed(self, talk: Talk) -> None:
        mark = f"{talk.log.token} changed {talk.number()}"
        talk.call("changed", "told", 0, mark, mark=mark)

    def _set_level(self, talk: Talk) -> None:
        level = self._chance.choice(LEVELS)
        talk.log.levels.add(level)
        self._world.note("change sent")
        if talk.ask("logging/setLevel", {"level": level}).is_done:
            talk.log.levels = {level}
            self._world.note("change answered")

    def _subscribe(self, talk: Talk) -> None:
        wanted = self._chance.random() < 0.7
        uri = f"probe:///{talk.log.token}/{self._chance.randrange(6)}"
        talk.log.subscriptions.setdefault(uri, {False}).add(wanted)
        self._world.note("change sent")
        if talk.ask("resources/subscribe" if wanted else "resources/unsubscribe", {"uri": uri}).is_done:
            talk.log.subscriptions[uri] = {wanted}
            self._world.note("change answered")

    def _progress(self, talk: Talk) -> None:
        steps, pause_s = self._chance.randint(1, 40), self._chance.choice((0, 0, 0.002, 0.02))
        size = self._chance.choice((0, 0, 100, 5_000, 30_000))
        call = partial(talk.call, "progress", f"{steps} done", steps, n=steps, pause=pause_s, size=size, stamp=True)
        self._beside(call)

    def _sleep(self, talk: Talk) -> None:
        seconds = self._chance.choice((self._chance.uniform(0.05, 0.4), self._chance.uniform(0.5, 2.5)))
        self._beside(partial(talk.call, "sleep", "awake", seconds=seconds))

    def _log(self, talk: Talk) -> None:
        text, pause_s = f"{talk.log.token} logs {talk.number()}", self._chance.choice((0, 0.01))
        self._beside(partial(talk.call, "log", "logged", 0, text, text=text, pause=pause_s))

    def _question(self, talk: Talk) -> None:
        """Have the server ask us something, one thing at a time."""
        if not talk.forgets and (talk.asking is None or not talk.asking.is_alive()):
            said, text = json.dumps({"content": talk.log.token}), f"{talk.log.token} asks {talk.number()}"
            talk.asking = self._start(partial(talk.call, "ask", said, 0, text, text=text, patience=PATIENCE_S))

    def _crash(self, talk: Talk) -> None:
        """End the worker alone, seldom enough that the session lives on."""
        crashes = sum(call.tool == "crash" for call in talk.log.calls)
        if crashes < CRASHES_MAX and self._chance.random() < 0.3:
            self._world.note("crash sent")
            talk.call("crash")

    def _listen(self, talk: Talk) -> None:
        if talk.listening is None:
            talk.forgets = talk.asking is None and self._chance.random() < 0.3
            talk.listening = self._start(partial(talk.listen, forget=talk.forgets))

    def _beside(self, act: Callable[[], object]) -> None:
        """Act in a thread of its own while the client goes on; in this one when enough do."""
        running = [thread for thread in self._threads if thread.is_alive()]
        if len(running) >= STREAMS_MAX + len(self._talks):
            act()
            return
        self._threads = running
        self._start(act)

    def _start(self, act: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=act, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread
