"""A listener in front of a server, so that a test of a restart does not depend on how soon the server is back."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LOOK_EVERY_S: Final = 0.05
LOOKS: Final = 1200


class Front(socketserver.ThreadingTCPServer):
    """Passes connections on as they are; while nobody listens behind it, they wait if it is `patient`, else end."""

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.patient = True
        self.port: int = self.socket.getsockname()[1]


class _Passing(socketserver.BaseRequestHandler):
    server: Front
    request: socket.socket

    def handle(self) -> None:
        behind = self._connect()
        if behind is None:
            return
        with behind:
            back = threading.Thread(target=_pass_on, args=(behind, self.request), daemon=True)
            back.start()
            _pass_on(self.request, behind)
            back.join()

    def _connect(self) -> socket.socket | None:
        never = threading.Event()
        for _ in range(LOOKS):
            try:
                return socket.create_connection(("127.0.0.1", self.server.behind))
            except OSError:
                if not self.server.patient:
                    return None
                never.wait(LOOK_EVERY_S)
        return None


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until either side ends, which then ends both."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def in_front(behind: int) -> Iterator[Front]:
    """Listen on a port of its own, and pass connections on to the port `behind`, until the block ends."""
    with Front(behind) as front:
        thread = threading.Thread(target=front.serve_forever)
        thread.start()
        try:
            yield front
        finally:
            front.patient = False
            front.shutdown()
            thread.join()
