"""`holdfast keeper status|stop`: look at the keeper of a data directory, or end it with all it started."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from holdfast_keeper import wire

from ..model import Clock, Conflict, Misused, SystemClock, Unavailable
from ..wiring import connect_to_keeper
from .keeper_report import Answer, as_json, as_text
from .output import say, take_any_text

ANSWERS_WITHIN_S: Final = 5.0
GRACE_S: Final = 4.0
CHUNK_BYTES: Final = 2**20
STOPS_WITHIN_S: Final = 60.0
VERSIONS: Final = (wire.VERSION,)

Asked: TypeAlias = Literal["status", "stop"]


def keeper(asks: Asked, data_dir: Path, *, json: bool) -> int:
    """Ask the keeper of `data_dir` and print what it answers; return 0, also when there is no keeper.

    Raises:
        Misused: There is no such data directory, its keeper is another user's, or speaks another version.
        Conflict: It does not stop, because a server uses it. Nothing was changed.
        Unavailable: It did not answer in time, or ended meanwhile.
    """
    take_any_text()
    connection = connect_to_keeper(data_dir)
    if connection is None:
        _check_data_dir(data_dir)
        say(msgspec.json.encode({"pid": None}).decode() if json else f"No keeper runs on {data_dir}.")
        return 0
    clock = SystemClock()
    with connection:
        operator = Operator(connection, data_dir, clock)
        answer = operator.ask(asks)
        if asks == "status":
            say(as_json(answer) if json else as_text(answer, data_dir, clock.now()))
            return 0
        operator.wait_until_stopped()
    stopped = f"The keeper of {data_dir} (pid {answer.pid}) and all it started have ended."
    say(msgspec.json.encode({"pid": answer.pid, "stopped": True}).decode() if json else stopped)
    return 0


def _check_data_dir(data_dir: Path) -> None:
    """Refuse a folder in which no server ever was: most likely it is not the one that is meant."""
    if not (data_dir / "format").exists():
        raise Misused(f"{data_dir} is no data directory; name the one of the server with --data")


class Operator:
    """Asks one keeper one thing, over a connection of its own.

    Everything it says is checked: whoever listens there runs as this user, but may be of any version.
    """

    def __init__(self, connection: socket.socket, data_dir: Path, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._until = 0.0
        (pid,) = struct.unpack("i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4))
        self._who = f"the keeper of {data_dir} (pid {pid})"

    def ask(self, asks: Asked) -> Answer:
        """Say who this is and what it wants; return the answer.

        Raises:
            Misused, Conflict, Unavailable: See `keeper`.
        """
        hello = {"versions": VERSIONS, "role": "operator", "asks": asks, "grace_s": GRACE_S}
        self._until = self._clock.now() + ANSWERS_WITHIN_S
        self._connection.settimeout(ANSWERS_WITHIN_S)
        try:
            self._connection.sendall(wire.message(wire.HELLO, 0, msgspec.json.encode(hello)))
        except OSError as error:
            raise self._gone() from error
        answer = self._heard()
        if answer.version not in VERSIONS:
            raise Misused(
                f"{self._who} speaks version {answer.version}, this holdfast {wire.VERSION}; "
                "use the holdfast that its server is of"
            )
        if answer.error is not None:
            raise Conflict(f"{self._who} refuses: {answer.error}")
        return answer

    def wait_until_stopped(self) -> None:
        """Return once it has said that all is gone, and has let go of the socket.

        Raises:
            Conflict: A server came meanwhile.
            Unavailable: It ended without a word, or did not end within `STOPS_WITHIN_S` seconds.
        """
        self._until = self._clock.now() + STOPS_WITHIN_S
        if (error := self._heard().error) is not None:
            raise Conflict(f"{self._who} refuses: {error}")
        self._receive(1)

    def _heard(self) -> Answer:
        length, kind, *_ = wire.HEADER.unpack(self._read(wire.HEADER.size))
        if kind != wire.HELLO or length > wire.PAYLOAD_BYTES_MAX:
            raise Unavailable(f"{self._who} said what no keeper says; is it one?")
        try:
            return msgspec.json.decode(self._read(length), type=Answer)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self._who} said what cannot be understood: {error}") from error

    def _read(self, count: int) -> bytes:
        read = bytearray()
        while len(read) < count:
            if not (chunk := self._receive(min(count - len(read), CHUNK_BYTES))):
                raise self._gone()
            read += chunk
        return bytes(read)

    def _receive(self, count: int) -> bytes:
        """Return what has come, nothing at the end."""
        self._connection.settimeout(max(0.001, self._until - self._clock.now()))
        try:
            return self._connection.recv(count)
        except TimeoutError as error:
            raise Unavailable(f"{self._who} does not answer; look at its process, and end it if it hangs") from error
        except ConnectionError:
            return b""

    def _gone(self) -> Unavailable:
        return Unavailable(f"{self._who} ended before it had answered; ask again")
