"""What the server and the keeper say to each other over their Unix socket.

Each message is a header (payload length, kind, worker number) and a payload. Numbers are big-endian. The server
numbers its workers, never the same twice. The server speaks first; the first message of either side is HELLO with
the protocol's version. A keeper that cannot serve says why in its HELLO ("error") and closes the socket.
"""

from __future__ import annotations

import struct
from typing import Final

VERSION: Final = 1
HEADER: Final = struct.Struct("!IBI")
PAYLOAD_BYTES_MAX: Final = 64 * 2**20
MARKER: Final = "HOLDFAST_WORKER"  # in every worker's environment: the keeper's token, "-", the worker's number

# Either way
HELLO: Final = 0  # JSON {"version": 1}; from a keeper that refuses also "error": a sentence
FRAME: Final = 1  # one JSON-RPC message without its newline

# Server to keeper
SPAWN: Final = 2  # JSON {"command": [...], "place": "...", "env": {...}, "frame_bytes_max": n, "files_max": n | None}
STOP: Final = 3  # JSON {"grace_s": 2.0}: close stdin, SIGTERM after half the grace, SIGKILL after all of it
FRAME_RECEIPT: Final = 4  # like FRAME, answered by ACCEPTED
FIRST: Final = 64  # added to either: ahead of what waits for the worker's stdin

# Keeper to server
STARTED: Final = 16  # JSON {"pid": 1234}
FAILED: Final = 17  # JSON {"error": "..."}: the worker was never started
ACCEPTED: Final = 18  # one FRAME_RECEIPT is in the keeper's hands; they are answered in order
EXITED: Final = (
    19  # JSON {"code": 0 | None, "signal": 9 | None, "why": "..." , "stderr": "last lines"}; nothing of it is left
)
FULL: Final = 20  # the queue to its stdin is over the bound: send no more requests
READY: Final = 21  # the queue is below half the bound again


class WireError(ValueError):
    """The other side does not speak this protocol; nothing it says after this can be understood."""


def message(kind: int, number: int, payload: bytes = b"") -> bytes:
    """Return one whole message."""
    return HEADER.pack(len(payload), kind, number) + payload


class Splitter:
    """Cuts what the socket delivers into messages, in order, wherever the chunks end.

    A payload is copied once when its message lies within one chunk. What waits for its rest is at most one message.
    """

    __slots__ = ("_part",)

    def __init__(self) -> None:
        self._part = bytearray()

    def feed(self, chunk: bytes) -> list[tuple[int, int, bytes]]:
        """Return the messages (kind, worker number, payload) that `chunk` completes.

        Raises:
            WireError: A payload of more than `PAYLOAD_BYTES_MAX` is announced.
        """
        found: list[tuple[int, int, bytes]] = []
        at = self._complete_part(chunk, found) if self._part else 0
        size = len(chunk)
        head_bytes = HEADER.size
        while size - at >= head_bytes:
            length, kind, number = HEADER.unpack_from(chunk, at)
            if length > PAYLOAD_BYTES_MAX:
                raise WireError(f"a message of {length} bytes is announced; at most {PAYLOAD_BYTES_MAX} are allowed")
            end = at + head_bytes + length
            if end > size:
                break
            found.append((kind, number, chunk[at + head_bytes : end]))
            at = end
        if at < size:
            self._part += chunk[at:]
        return found

    def _complete_part(self, chunk: bytes, found: list[tuple[int, int, bytes]]) -> int:
        """Complete the message that an earlier chunk began; return how much of `chunk` went into it."""
        part, at, need = self._part, 0, HEADER.size
        for _ in ("header", "payload"):
            if len(part) < need:
                at += len(piece := chunk[at : at + need - len(part)])
                part += piece
                if len(part) < need:
                    return at
            length, kind, number = HEADER.unpack_from(part)
            if length > PAYLOAD_BYTES_MAX:
                raise WireError(f"a message of {length} bytes is announced; at most {PAYLOAD_BYTES_MAX} are allowed")
            need = HEADER.size + length
        found.append((kind, number, bytes(memoryview(part)[HEADER.size :])))
        self._part = bytearray()
        return at
