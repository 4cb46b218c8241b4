"""Stands where a keeper would and says what a test gives it, for what no real keeper does."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast_keeper import wire


def hello(**fields: Any) -> bytes:
    """Return a keeper's HELLO with these fields besides the version and the process id."""
    payload = json.dumps({"version": wire.VERSION, "pid": os.getpid()} | fields).encode()
    return wire.HEADER.pack(len(payload), wire.HELLO, 0, 0) + payload


@dataclass
class Asked:
    """What the last one to connect said."""

    words: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def saying(data: Path, *answers: bytes) -> Iterator[Asked]:
    """Listen in `data`, read one HELLO, say all `answers`, and close; for one connection."""
    asked = Asked()
    data.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / wire.SOCKET))
        listener.listen()
        answering = threading.Thread(target=_answer, args=(listener, answers, asked))
        answering.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.join(60)


def _answer(listener: socket.socket, answers: tuple[bytes, ...], asked: Asked) -> None:
    with contextlib.suppress(OSError), listener.accept()[0] as connection:
        connection.settimeout(60)
        with connection.makefile("rb") as file:
            length, *_ = wire.HEADER.unpack(file.read(wire.HEADER.size))
            asked.words = json.loads(file.read(length))
        for answer in answers:
            connection.sendall(answer)
