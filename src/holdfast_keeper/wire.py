"""What the keeper and those who speak to it say to each other over its Unix socket.

Each message is a header (payload length, kind, worker, number) and a payload. Numbers are big-endian. Whoever connects
speaks first; the first message of either side is HELLO. A keeper that cannot serve says why in its HELLO ("error") and
closes the socket. Whoever connects names the versions it speaks and the keeper chooses, so that a newer server can use
an older keeper; fields of JSON that one side does not know are passed over.

A server numbers its workers as it likes, never the same twice on one connection. What a worker writes is numbered by
the keeper and sent again to the next server until it is acknowledged (DONE). Calls are numbered by the server, per
worker, never the same twice.
"""

from __future__ import annotations

import struct
from typing import Final

VERSION: Final = 2
HEADER: Final = struct.Struct("!IBIQ")
PAYLOAD_BYTES_MAX: Final = 64 * 2**20
MARKER: Final = "HOLDFAST_WORKER"  # in every worker's environment: the keeper's token, "-", the worker's number
SOCKET: Final = "keeper.sock"  # in the data directory

# Either way
HELLO: Final = 0
"""From who connects: JSON {"versions": [2], "role": "server", "term": n, "pid": n}, or the role "door" or "operator".

From the keeper: JSON {"version": 2, "pid": n}; when it refuses also "error": a sentence.
"""
FRAME: Final = 1
"""One JSON-RPC message without its newline.

To the server with its number; from it with the number of the frame that it answers, which is DONE by that, or 0.
"""

# Server to keeper
SPAWN: Final = 2
"""JSON {"label", "command": [...], "place", "env": {...}, "frame_bytes_max", "files_max" or None, "keep_s"}.

The label names the session, in the words of the server; a label has one worker. `keep_s` is how long it lives on when
no server is there.
"""
STOP: Final = (
    3  # JSON {"grace_s": 2.0}: close stdin, SIGTERM after half of it, SIGKILL after all; worker 0: all of them
)
CALL: Final = 4  # like FRAME, a request; its number is the call's. It is told to the next server until it is DONE
ATTACH: Final = 5  # JSON {"label"}: have this worker under this number; answered by ATTACHED, ABSENT or FAILED
GO: Final = 6  # after STARTED or ATTACHED: send what it says
RELEASE: Final = 7  # let the next server have it
STAGE: Final = (
    8  # may have RECEIPT; number: 0 being opened, 1 the handshake is done, 2 `initialized` was sent; told in ATTACHED
)
DONE: Final = 9  # entries of `DONE_ENTRY`
DONE_ENTRY: Final = struct.Struct("!IQQ")  # worker; the number of a frame that is journaled, or 0; of a call, or 0
# Added to FRAME or CALL, the first to STAGE too:
RECEIPT: Final = 32  # to be answered by ACCEPTED
FIRST: Final = 64  # ahead of what waits for the worker's stdin
NOTED: Final = 128  # before the frame stand the length (`NOTE_LENGTH`) and the text of what is told of it instead
NOTE_LENGTH: Final = struct.Struct("!I")

# Keeper to server
STARTED: Final = 16  # JSON {"pid": 1234}
FAILED: Final = 17  # JSON {"error": "..."}: the worker was never started, or a newer server has it
ACCEPTED: Final = 18  # one message with RECEIPT is in the keeper's hands; they are answered in order
EXITED: Final = 19
"""JSON {"code": 0 | None, "signal": 9 | None, "why", "stderr": "last lines", "at"}; nothing of it is left.

It has a number and is to be acknowledged like a frame; `at` is when, in seconds since the epoch.
"""
FULL: Final = 20  # the queue to its stdin is over the bound: send no more requests
READY: Final = 21  # the queue is below half the bound again
ATTACHED: Final = 22
"""JSON {"pid", "since", "stage", "full", "first", "last", "calls": [{"call", "age_s", "note"}, ...]}.

`first` and `last` are the numbers of what is not acknowledged, both 0 when there is nothing; it follows after GO.
"""
ABSENT: Final = 23  # no worker has this label
ORPHAN: Final = 24  # worker 0, JSON {"label"}: this worker has no server; told to the newest one, also when it connects
# Doors, by which one server takes the place of another. With HELLO a door says {"address"} of the listener it wants, or
# None, and the keeper {"listener": whether it is attached, "serving": [pids]}.
SERVING: Final = 40
"""From the new server: JSON {"term", "address"}; attached are its listener, and the channel for the old one."""
LEAVE: Final = 41  # to the old server, with the channel through which it sends its connections
LEAVING: Final = 42  # its answer, JSON {"within_s"}: by then it is gone


class WireError(ValueError):
    """The other side does not speak this protocol; nothing it says after this can be understood."""


def message(kind: int, worker: int, payload: bytes = b"", number: int = 0) -> bytes:
    """Return one whole message."""
    return HEADER.pack(len(payload), kind, worker, number) + payload


class Splitter:
    """Cuts what the socket delivers into messages, in order, wherever the chunks end.

    A payload is copied once when its message lies within one chunk. What waits for its rest is at most one message.
    """

    __slots__ = ("_part",)

    def __init__(self) -> None:
        self._part = bytearray()

    def feed(self, chunk: bytes) -> list[tuple[int, int, bytes, int]]:
        """Return the messages (kind, worker, payload, number) that `chunk` completes.

        Raises:
            WireError: A payload of more than `PAYLOAD_BYTES_MAX` is announced.
        """
        found: list[tuple[int, int, bytes, int]] = []
        at = self._complete_part(chunk, found) if self._part else 0
        size = len(chunk)
        head_bytes = HEADER.size
        while size - at >= head_bytes:
            length, kind, worker, number = HEADER.unpack_from(chunk, at)
            if length > PAYLOAD_BYTES_MAX:
                raise WireError(f"a message of {length} bytes is announced; at most {PAYLOAD_BYTES_MAX} are allowed")
            end = at + head_bytes + length
            if end > size:
                break
            found.append((kind, worker, chunk[at + head_bytes : end], number))
            at = end
        if at < size:
            self._part += chunk[at:]
        return found

    def _complete_part(self, chunk: bytes, found: list[tuple[int, int, bytes, int]]) -> int:
        """Complete the message that an earlier chunk began; return how much of `chunk` went into it."""
        part, at, need = self._part, 0, HEADER.size
        for _ in ("header", "payload"):
            if len(part) < need:
                at += len(piece := chunk[at : at + need - len(part)])
                part += piece
                if len(part) < need:
                    return at
            length, kind, worker, number = HEADER.unpack_from(part)
            if length > PAYLOAD_BYTES_MAX:
                raise WireError(f"a message of {length} bytes is announced; at most {PAYLOAD_BYTES_MAX} are allowed")
            need = HEADER.size + length
        found.append((kind, worker, bytes(memoryview(part)[HEADER.size :]), number))
        self._part = bytearray()
        return at
