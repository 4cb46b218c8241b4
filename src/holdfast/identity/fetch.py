"""One document from the web or a file, within bounds, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from pathlib import Path
from typing import Final

from ..model import Misused, Unavailable
from ..model.urls import secure_url, split_url

BYTES_MAX: Final = 512 * 2**10
WITHIN_S: Final = 5.0


async def fetched(url: str, *, within_s: float = WITHIN_S) -> bytes:
    """Return what a GET of `url` answers with 200; redirects are not followed.

    Raises:
        Unavailable: It cannot be reached, takes longer than `within_s` seconds in all, is over 512 KiB, or answers
            anything but 200.
    """
    try:
        secure_url(url)
    except Misused as error:
        raise Unavailable(str(error)) from error
    get = _Get(url, within_s)
    answer = asyncio.get_running_loop().run_in_executor(None, get.run)
    answer.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # it may end when nobody waits
    try:
        async with asyncio.timeout(within_s):
            return await asyncio.shield(answer)
    except TimeoutError as error:
        raise Unavailable(f"{url} did not answer within {within_s:g} s") from error
    finally:
        get.abort()


async def read(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        Unavailable: It cannot be read, or is over 512 KiB.
    """
    try:
        body = await asyncio.to_thread(_read, path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
    if len(body) > BYTES_MAX:
        raise Unavailable(f"{path} has more than {BYTES_MAX} bytes")
    return body


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_MAX + 1)


class _Get:
    """A request in a thread, which `abort` ends from another one: its socket's timeout starts anew with every byte."""

    def __init__(self, url: str, within_s: float) -> None:
        self._url = url
        self._within_s = within_s
        # Let go of before it is closed, so that `abort` never meets another connection under its number.
        self._link: socket.socket | None = None
        self._lock = threading.Lock()
        self._aborted = False

    def run(self) -> bytes:
        try:
            status, body = self._asked()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"{self._url} cannot be fetched: {error or type(error).__name__}") from error
        if status != 200:
            hint = "; redirects are not followed" if 300 <= status < 400 else ""
            raise Unavailable(f"{self._url} answered {status}{hint}")
        if len(body) > BYTES_MAX:
            raise Unavailable(f"{self._url} answered more than {BYTES_MAX} bytes")
        return body

    def _asked(self) -> tuple[int, bytes]:
        url = split_url(self._url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        # Made in this thread, for the certificates of the system are read from disk.
        connection = kind(url.host.strip("[]"), url.port, timeout=self._within_s)
        with contextlib.closing(connection):
            connection.connect()
            with self._lock:
                if self._aborted:
                    raise TimeoutError("too late")
                self._link = connection.sock  # the connection forgets it once the answer has begun
            try:
                connection.request("GET", (url.path or "/") + url.query, headers={"Accept": "application/json"})
                with contextlib.closing(connection.getresponse()) as response:
                    try:
                        return response.status, response.read(BYTES_MAX + 1)
                    finally:
                        self._let_go()
            finally:
                self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._link = None

    def abort(self) -> None:
        """End the request if it still runs."""
        with self._lock:
            self._aborted = True
            if self._link is not None:
                with contextlib.suppress(OSError):
                    # The one of the plain socket: that of a TLS socket takes its state from under the other thread.
                    socket.socket.shutdown(self._link, socket.SHUT_RDWR)
