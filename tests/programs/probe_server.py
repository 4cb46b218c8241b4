"""A stdio MCP server whose tools do what tests want to see; standard library only.

With a file `fail` in its folder it does not start; PROBE_PROTOCOL makes it answer another protocol version,
PROBE_REFUSES an error; PROBE_STARTS names a file in which starts are marked. PROBE_TAKEN names a file in its folder in
which each worker of a session notes the calls and answers that reach it, and whether another worker runs beside it;
PROBE_MARKS a pipe that is told when a message has been written, or half of one.
"""

import contextlib
import fcntl
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Arguments = dict[str, Any]

lock = threading.Lock()
calls = itertools.count(1)
heard: list[str] = []
asked = itertools.count(1)
questions: dict[str, Any] = {}


def opened(variable: str, flags: int) -> int | None:
    return os.open(os.environ[variable], os.O_RDWR | flags) if variable in os.environ else None


taken = opened("PROBE_TAKEN", os.O_CREAT | os.O_APPEND)
marks = opened("PROBE_MARKS", os.O_NONBLOCK)


def say(message: dict[str, Any], halfway_s: float | None = None) -> None:
    """Write a message, in two parts with a pause between them if that is given."""
    text = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
    with lock:
        if halfway_s is not None:
            sys.stdout.write(text[: len(text) // 2])
            sys.stdout.flush()
            mark("half a frame said")
            time.sleep(halfway_s)
            text = text[len(text) // 2 :]
        sys.stdout.write(text)
        sys.stdout.flush()
        mark("frame said")


def mark(moment: str) -> None:
    if marks is not None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            os.write(marks, f"{moment}\n".encode())


def note(**what: Any) -> None:
    """Write down what has come, before anything is done about it; one write is whole whatever ends us."""
    if taken is not None:
        os.write(taken, json.dumps({"pid": os.getpid(), **what}).encode() + b"\n")


def note_start() -> None:
    if taken is None:
        return
    try:
        fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(start="beside another")
    else:
        note(start="alone")


def answer(request_id: Any, value: str, halfway_s: float | None = None) -> None:
    say({"id": request_id, "result": {"content": [{"type": "text", "text": value}], "isError": False}}, halfway_s)


def daemon(request_id: Any, arguments: Arguments, token: Any) -> str:
    """Leave a process behind that has nothing to do with this one any more, as far as process groups go."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(writing, str(pid).encode())
            os._exit(0)
        for descriptor in range(3):
            os.close(descriptor)
        time.sleep(600)
        os._exit(0)
    os.wait()
    return os.read(reading, 20).decode()


def progress(request_id: Any, arguments: Arguments, token: Any) -> str:
    for number in range(arguments["n"]):
        said_at = f"{time.monotonic_ns()} " if "stamp" in arguments else ""
        params = {"progressToken": token, "progress": number, "message": said_at + "x" * arguments.get("size", 0)}
        say({"method": "notifications/progress", "params": params})
        time.sleep(float(arguments.get("pause", 0)))
    return f"{arguments['n']} done"


def log(request_id: Any, arguments: Arguments, token: Any) -> str:
    say({"method": "notifications/message", "params": {"level": "info", "data": arguments["text"]}})
    time.sleep(float(arguments.get("pause", 0)))
    return "logged"


def ask(request_id: Any, arguments: Arguments, token: Any) -> str | None:
    """Ask the client, whose answer is the tool's; with `patience`, for so many seconds."""
    asked_id = f"q{next(asked)}"
    questions[asked_id] = request_id
    say({"id": asked_id, "method": "elicitation/create", "params": {"message": arguments["text"]}})
    if "patience" not in arguments:
        return None
    time.sleep(float(arguments["patience"]))
    return None if questions.pop(asked_id, None) is None else "nobody answered"


def changed(request_id: Any, arguments: Arguments, token: Any) -> str:
    params = {"params": {"_meta": {"mark": arguments["mark"]}}} if "mark" in arguments else {}
    say({"method": "notifications/tools/list_changed", **params})
    return "told"


def write(request_id: Any, arguments: Arguments, token: Any) -> str:
    Path(arguments["name"]).write_text(arguments.get("text", ""))
    return "written"


def append(request_id: Any, arguments: Arguments, token: Any) -> str:
    """Write so that a second time would show."""
    with Path(arguments["name"]).open("a") as file:
        file.write(arguments["text"])
    return "written"


def large(request_id: Any, arguments: Arguments, token: Any) -> str | None:
    """Answer with so many bytes; with `halfway`, pause for so many seconds in the middle of them."""
    text = "x" * int(arguments["bytes"])
    if "halfway" not in arguments:
        return text
    answer(request_id, text, float(arguments["halfway"]))
    return None


def sleep(request_id: Any, arguments: Arguments, token: Any) -> str:
    time.sleep(float(arguments["seconds"]))
    return "awake"


def wait(request_id: Any, arguments: Arguments, token: Any) -> str:
    """Answer when there is a file of this name in the folder."""
    while not Path(arguments["name"]).exists():
        time.sleep(0.005)
    return "it is there"


TOOLS: dict[str, Callable[[Any, Arguments, Any], str | None]] = {
    "echo": lambda _, arguments, __: str(arguments["text"]),
    "count": lambda *_: str(next(calls)),
    "sleep": sleep,
    "wait": wait,
    "progress": progress,
    "crash": lambda _, arguments, __: os._exit(int(arguments.get("code", 7))),
    "log": log,
    "ask": ask,
    "changed": changed,
    "large": large,
    "env": lambda *_: json.dumps(dict(os.environ)),
    "where": lambda *_: str(Path.cwd()),
    "heard": lambda *_: json.dumps(heard),
    "daemon": daemon,
    "mute": lambda *_: None,
    "write": write,
    "append": append,
    "pid": lambda *_: str(os.getpid()),
}


def call(request_id: Any, name: str, arguments: Arguments, token: Any) -> None:
    said = TOOLS[name](request_id, arguments, token)
    if said is not None:
        answer(request_id, said)


def mark_start(word: str) -> None:
    if "PROBE_STARTS" in os.environ:
        time.sleep(0.1 if word == "ended" else 0)
        with Path(os.environ["PROBE_STARTS"]).open("a") as marks:
            marks.write(f"{word}\n")


def initialize(params: Arguments) -> Arguments:
    if Path("fail").exists():
        sys.exit("it was told to fail")
    mark_start("ended")
    return {
        "protocolVersion": os.environ.get("PROBE_PROTOCOL", params["protocolVersion"]),
        "capabilities": {"tools": {"listChanged": True}, "logging": {}, "resources": {"subscribe": True}},
        "serverInfo": {"name": "probe", "version": "1"},
    }


def told(message: dict[str, Any]) -> None:
    method, params = message["method"], message.get("params") or {}
    subject = params.get("level") or params.get("uri")
    heard.append(f"{method} {subject}" if subject else method)
    if "id" not in message:
        return
    if method == "tools/call":
        token = (params.get("_meta") or {}).get("progressToken")
        arguments = (message["id"], params["name"], params.get("arguments") or {}, token)
        note(call=message["id"], tool=params["name"])
        if params["name"] == "count":  # in the order in which they came
            call(*arguments)
        else:
            threading.Thread(target=call, args=arguments, daemon=True).start()
    elif method == "initialize":
        say({"id": message["id"], "result": initialize(params)})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
        say({"id": message["id"], "result": {"tools": tools}})
    else:
        say({"id": message["id"], "result": {}})


def main() -> None:
    note_start()
    mark_start("begun")
    if os.environ.get("PROBE_REFUSES"):
        say({"id": json.loads(sys.stdin.readline())["id"], "error": {"code": -32000, "message": "not today"}})
        return
    for line in sys.stdin:
        message = json.loads(line)
        if "method" in message:
            told(message)
        else:
            note(reply=message.get("id"))
            if (request_id := questions.pop(message.get("id"), None)) is not None:
                answer(request_id, json.dumps(message.get("result") or message.get("error")))


main()
