"""Evidence of a session without a flaw, and how to spoil it, for the tests of the rules."""

from __future__ import annotations

import json
from typing import Any, Final

from .answer_rules import UNHEARD
from .evidence import Call, Connection, Fate, Found, Replay, Seen, SessionLog, Taken
from .plan import How

TAG: Final = "0a1b2c3d"
Evidence = tuple[SessionLog, Found]


def event(stream: str, term: int, seq: int, message: Any = None) -> Seen:
    return Seen(f"{TAG}.{stream}.{term}.{seq}", json.dumps(message).encode() if message else b"")


def result(number: int | str, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}]}}


def error(number: int | str, code: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "why"}}


def progress(number: int, step: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": f"t/{number}", "progress": step}}


def answered(number: int, tool: str, text: str) -> Call:
    known = None if tool in ("count", "pid") else text
    return Call(number, tool, known, server=0, answer=json.dumps(result(number, text)).encode(), ended=True)


def mark(text: str) -> dict[str, Any]:
    return {"method": "notifications/tools/list_changed", "params": {"_meta": {"mark": text}}}


def call_of(log: SessionLog, number: int | str) -> Call:
    return next(call for call in log.calls if call.id == number)


OTHER: Final = {"method": "notifications/tools/list_changed"}
DONE: Final = [
    event("1-1", 1, 0),
    event("1-1", 1, 1, progress(3, 0)),
    event("1-1", 2, 2, progress(3, 1)),
    event("1-1", 2, 3, result(3, "2 done")),
]
CUT: Final = [event("1-2", 1, 0), event("1-2", 1, 1, progress(4, 0)), event("1-2", 2, 2, error("r4", -32050))]
ASKED: Final = [
    event("1-3", 1, 0),
    event("1-3", 1, 1, {"id": "1:q", "method": "elicitation/create", "params": {"message": "t asks"}}),
    event("1-3", 2, 2, result(6, "t")),
]
HEARD: Final = [event("0", 1, 0), event("0", 1, 1, mark("t changed")), event("0", 2, 2, mark("t surveyed 1"))]
FIRST, LAST = 76, 77
UNSUBSCRIBED: Final = "resources/unsubscribe probe:///left"
TOLD: Final = ["initialize", "notifications/initialized", "logging/setLevel info", "resources/subscribe probe:///kept"]


def replays(events: list[Seen], *at: int) -> list[Replay]:
    return [Replay(str(events[place].id), 200, events[place + 1 :]) for place in at]


def sound() -> Evidence:
    """Return what a session without a flaw looks like, whose server was killed.

    Its first worker was made to crash, which interrupted a call. The second lived on when its server did not, and so
    did the calls it had: one that tells of its progress, and one that asks.
    """
    done = Call(3, "progress", "2 done", steps=2, server=0, answer=DONE[3].data)
    done.connections = [Connection(None, DONE[:2], cut=True), Connection(DONE[1].id, DONE[2:])]
    cut = Call("r4", "progress", "9 done", steps=9, server=0, answer=CUT[2].data)
    cut.connections = [Connection(None, CUT[:2]), Connection(CUT[1].id, CUT[2:])]
    crash = Call(7, "crash", server=0, answer=json.dumps(error(7, -32050)).encode())
    asked = Call(6, "ask", "t", tells="t asks", server=0, answer=ASKED[2].data, connections=[Connection(None, ASKED)])
    written, changed = answered(8, "append", "written"), answered(5, "changed", "told")
    written.file, written.tells, changed.tells = "note", "kept", "t changed"
    log = SessionLog(
        "t",
        "ab12cd34",
        Fate.ACKNOWLEDGED,
        confirmed=1,
        levels={"info"},
        subscriptions={"probe:///kept": {True}, "probe:///left": {False}, "probe:///unknown": {True, False}},
        calls=[cut, crash, answered(1, "count", "1"), answered(2, "count", "2"), answered(9, "pid", "77")],
        listens=[Connection(None, HEARD[:2], cut=True)],
    )
    log.calls += [done, asked, written, changed]
    taken = [Taken(FIRST, "alone"), Taken(FIRST, None, "r4", "progress"), Taken(FIRST, None, 7, "crash")]
    taken += [Taken(LAST, "alone"), *(Taken(LAST, None, call.id, call.tool) for call in log.calls[2:])]
    taken += [Taken(LAST, reply="q1"), Taken(LAST, None, "survey-1", "count")]
    found = Found(
        [200, 200, 200],
        ends=(How.KILL,),
        pids={"77"},
        heard=[*TOLD[:2], "resources/subscribe probe:///left", "logging/setLevel debug", *TOLD[2:], UNSUBSCRIBED],
        heard_anew=[*TOLD, "tools/call"],
        count="3",
        echo="t",
        files={"note": "kept"},
        replays={
            "1-1": replays(DONE, 0, 1, 3), "1-2": replays(CUT, 0, 1), "1-3": replays(ASKED, 0),
            "0": replays(HEARD, 0, 1),
        },
        strange=400,
        has_folder=True,
        workers=1,
        taken=taken,
        alive_after={2: True, 3: True, 4: True, 5: False},
    )  # fmt: skip
    return log, found


def whole(found: Found, stream: str) -> list[Seen]:
    return found.replays[stream][0].events


def put(events: list[Seen], place: int, message: dict[str, Any]) -> None:
    """Give an event other data."""
    events[place] = events[place]._replace(data=json.dumps(message).encode())


def replaced(log: SessionLog, found: Found) -> SessionLog:
    """Return the log as if a healthy server had been replaced."""
    found.ends = (How.REPLACE,)
    for connection in [*log.listens, *(connection for call in log.calls for connection in call.connections)]:
        connection.cut = False
    return log


def leave_a_worker(found: Found) -> None:
    found.statuses, found.has_folder = [404], False


def fail(call: Call, code: int) -> None:
    call.answer = json.dumps(error(call.id, code)).encode()


def fail_setting(log: SessionLog, found: Found) -> None:
    """Let a request that is no tool's fail although the session never had another worker."""
    found.taken = [taken for taken in found.taken if taken.pid == LAST]
    log.calls = [Call(11, "logging/setLevel", answer=json.dumps(error(11, -32050)).encode())]


def fail_unreached(log: SessionLog, found: Found) -> None:
    found.taken = [taken for taken in found.taken if taken.pid == LAST]
    replaced(log, found).calls.append(Call(11, "echo", answer=json.dumps(error(11, -32050)).encode()))


def unheard(log: SessionLog) -> None:
    call_of(log, 6).answer = told(6, UNHEARD)


def told(number: int, text: str) -> bytes:
    return json.dumps(result(number, text)).encode()


def withdraw(found: Found) -> None:
    found.taken = [taken for taken in found.taken if taken.pid == LAST]
    put(whole(found, "1-1"), 0, {"method": "notifications/cancelled", "params": {"requestId": "1:q"}})


def ended(log: SessionLog) -> None:
    log.deleted = Fate.ACKNOWLEDGED
