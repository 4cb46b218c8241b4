"""What the server and the keeper say to each other over their Unix socket.

Each message is a header (payload length, kind, worker number) and a payload. Numbers are big-endian. The server
numbers its workers, never the same twice. The first message of either side is HELLO with the protocol's version.
"""

from __future__ import annotations

import struct
from typing import Final

VERSION: Final = 1
HEADER: Final = struct.Struct("!IBI")

# Either way
HELLO: Final = 0  # JSON {"version": 1}
FRAME: Final = 1  # one JSON-RPC message without its newline

# Server to keeper
SPAWN: Final = 2  # JSON, see `Spawn`
STOP: Final = 3  # JSON {"grace_s": 2.0}: close stdin, SIGTERM after half the grace, SIGKILL after all of it
FRAME_RECEIPT: Final = 4  # like FRAME, answered by ACCEPTED

# Keeper to server
STARTED: Final = 16  # JSON {"pid": 1234}
FAILED: Final = 17  # JSON {"error": "..."}: the worker was never started
ACCEPTED: Final = 18  # one FRAME_RECEIPT is in the keeper's hands; they are answered in order
EXITED: Final = 19  # JSON {"code": 0 | None, "signal": 9 | None, "why": "..." , "stderr": "last lines"}; nothing of it is left
FULL: Final = 20  # the queue to its stdin is over the bound: send no more requests
READY: Final = 21  # the queue is below half the bound again
